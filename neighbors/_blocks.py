"""Score blocks: all pairs of queries and gallery, a piece at a time, within a memory budget."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from milepost.neighbors._backend import Array, Backend, backend_of
from milepost.neighbors._score import Scored, prepare, score_block

_TILES = 4  # in a block from which the nearest are chosen: fewer, longer lists to choose from
_CHUNK = 1 << 17  # numbers whose float64 copies stay in the cache
_PAIR_BYTES = 72  # the temporary arrays of `score_block`, a key and its copy
_NUMBER_BYTES = 40  # float64 copies of a row's numbers
_ENTRY_BYTES = 40  # a key in the best so far, in the block's best, joined, and sorted


class BlockShape(NamedTuple):
    """How many queries and gallery rows a block compares."""

    queries: int
    gallery: int


class Block(NamedTuple):
    """The scores, float32 (q, g), of the gallery rows from `start` to `stop`."""

    start: int
    stop: int
    scores: Array


class Tile(NamedTuple):
    """Some queries and some gallery rows, prepared, and which of all they are."""

    rows: slice
    columns: slice
    queries: Array
    gallery: Array


def memory_budget(max_memory_bytes: int | None, like: Array) -> int:
    """Return the budget, by default a quarter of what is available where `like` lives."""
    return max_memory_bytes or backend_of(like).available_bytes(like) // 4


def block_shape(
    queries: Array,
    gallery: Array,
    depth: int,
    max_memory_bytes: int | None,
    backend: Backend,
) -> BlockShape:
    """Return the shape of blocks that is quick and stays under the budget.

    Args:
        queries: shape (Q, d).
        gallery: shape (G, d).
        depth: the length of the list that is kept for each query of a block.
        max_memory_bytes: the budget; None: a quarter of what is available. A block of one pair is
            made even where the budget is smaller.
        backend: what owns the arrays.
    """
    budget = memory_budget(max_memory_bytes, gallery)
    tile = backend.tile_pairs(gallery)
    height = max(1, min(len(queries), math.isqrt(tile) // 2))
    number = _TILES if depth else 1
    width = max(1, min(len(gallery), max(number * tile // height, 2 * depth)))

    def fits() -> bool:
        rows = (width + height) * queries.shape[1] * _NUMBER_BYTES
        return bool(height * (width * _PAIR_BYTES + depth * _ENTRY_BYTES) + rows <= budget)

    while not fits() and (height > 1 or width > 1):
        if height >= width or width == 1:
            height = (height + 1) // 2
        else:
            width = (width + 1) // 2
    return BlockShape(height, width)


def spans(total: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` rows that cover `total` rows."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def chunks(rows: Array) -> Iterator[slice]:
    """Yield slices of rows whose float64 copies stay in the cache."""
    return spans(len(rows), max(1, _CHUNK // rows.shape[1]))


def prepared_rows(rows: Array, distance: Scored, backend: Backend) -> Array:
    """Return what `prepare` does, a chunk that fits the cache at a time."""
    if distance != "cosine" or not len(rows):
        return rows
    return backend.concat([prepare(rows[s], distance, backend) for s in chunks(rows)], axis=0)


def prepared_pair(
    queries: Array, gallery: Array, distance: Scored, budget: int, backend: Backend
) -> tuple[Array, Array] | None:
    """Return both sides prepared, or nothing where the budget has no room for that."""
    if 16 * (len(queries) + len(gallery)) * queries.shape[1] > budget:
        return None
    return prepared_rows(queries, distance, backend), prepared_rows(gallery, distance, backend)


def gallery_blocks(
    queries: Array,
    gallery: Array,
    distance: Scored,
    width: int,
    backend: Backend,
    first: int = 0,
    *,
    prepared: bool = False,
) -> Iterator[Block]:
    """Yield the scores of queries with the gallery, a block of gallery rows at a time.

    Args:
        queries: float32 rows, one block of them.
        gallery: float32 rows.
        distance: what the score is made of.
        width: gallery rows in a block.
        backend: what owns the arrays.
        first: blocks that end at or before this gallery row are left out.
        prepared: whether both are prepared already.
    """
    own = queries if prepared else prepare(queries, distance, backend)
    for columns in spans(len(gallery), width):
        if columns.stop > first:
            block = gallery[columns] if prepared else prepare(gallery[columns], distance, backend)
            parts = spans(len(block), max(1, backend.tile_pairs(gallery) // len(queries)))
            scores = [score_block(own, block[part], distance, backend) for part in parts]
            yield Block(columns.start, columns.stop, backend.concat(scores, axis=1))


def tiles(
    queries: Array, gallery: Array, distance: Scored, budget: int, backend: Backend
) -> Iterator[Tile]:
    """Yield all pairs of queries and gallery rows, a tile that fits the cache at a time.

    They are prepared once where there is room for that in the budget.
    """
    shape = block_shape(queries, gallery, 0, budget, backend)
    ready = prepared_pair(queries, gallery, distance, budget, backend)
    queries, gallery = ready or (queries, gallery)
    for rows in spans(len(queries), shape.queries):
        own = queries[rows] if ready else prepare(queries[rows], distance, backend)
        for columns in spans(len(gallery), shape.gallery):
            others = gallery[columns] if ready else prepare(gallery[columns], distance, backend)
            yield Tile(rows, columns, own, others)
