"""Exact nearest neighbours, in blocks, with ties ranked by gallery position.

Q and G are the numbers of queries and of gallery rows, d is the dimension.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from milepost.neighbors._backend import Array, Backend, backend_of
from milepost.neighbors._blocks import Block, block_shape, gallery_blocks, spans
from milepost.neighbors._score import Distance, as_pair_of_rows, check_distance

_LOW = 0xFFFFFFFF
_NOTHING = -(2**63)  # a key below that of every score


class Neighbors(NamedTuple):
    """What a search found, the nearest first.

    Attributes:
        indices: int64 (Q, k), positions in the gallery; -1 where there are fewer than k.
        scores: float32 (Q, k), larger is closer: cosine, dot product or, for l2, minus the squared
            distance; minus infinity where there are fewer than k.
    """

    indices: Array
    scores: Array


def pair_scores(
    queries: Array,
    gallery: Array,
    *,
    distance: Distance = "cosine",
    max_memory_bytes: int | None = None,
) -> Array:
    """Return the score of every query with every gallery row, float32 (Q, G).

    The module `_score` defines it: the value of a pair does not depend on the other pairs, on
    blocks, threads or devices, nor on whether the arrays are NumPy's or torch's.

    Memory: 4 Q G bytes for the result, and blocks under `max_memory_bytes`.

    Args:
        queries: shape (Q, d), converted to float32.
        gallery: shape (G, d), converted to float32.
        distance: `"cosine"`, `"dot"` or `"l2"` (minus the squared Euclidean distance).
        max_memory_bytes: the budget of blocks; None: a quarter of what is available.

    Example:
        >>> pair_scores(np.array([[3.0, 4.0]]), np.array([[0.0, 0.0], [3.0, 1.0]]), distance="l2")
        array([[-25.,  -9.]], dtype=float32)
    """
    check_distance(distance)
    queries, gallery, backend = as_pair_of_rows(queries, gallery)
    shape = block_shape(queries, gallery, 0, max_memory_bytes, backend)
    result = backend.array(np.empty((len(queries), len(gallery)), np.float32), like=queries)
    for rows in spans(len(queries), shape.queries):
        for block in gallery_blocks(queries[rows], gallery, distance, shape.gallery, backend):
            result[rows, block.start : block.stop] = block.scores
    return result


def search(
    queries: Array,
    gallery: Array,
    k: int,
    *,
    distance: Distance = "cosine",
    exclude: Array | None = None,
    allowed: Callable[[slice, slice], Array] | None = None,
    max_memory_bytes: int | None = None,
) -> Neighbors:
    """Return the k nearest gallery rows of each query, exactly.

    Rows rank by score, equal scores by position in the gallery. The result does not depend on
    blocks, threads or devices, nor on whether the arrays are NumPy's or torch's.

    Memory: blocks under `max_memory_bytes`, and 12 Q k bytes for the result.

    Args:
        queries: shape (Q, d), converted to float32.
        gallery: shape (G, d), fewer than 2^32 rows, converted to float32.
        k: neighbours a query, at least 1; more than the gallery has are not given.
        distance: `"cosine"`, `"dot"` or `"l2"` (minus the squared Euclidean distance).
        exclude: int (Q,), the gallery position that a query leaves out (its own copy), or -1.
        allowed: says for a slice of queries and a slice of the gallery which pairs count, bool.
        max_memory_bytes: the budget; None: a quarter of what is available.

    Example:
        >>> points = np.array([[0.0], [1.0], [3.0]])
        >>> search(points, points, 1, distance="l2", exclude=np.arange(3)).indices.tolist()
        [[1], [0], [1]]
    """
    if k < 1:
        msg = f"`k` must be at least 1, got {k}"
        raise ValueError(msg)
    check_distance(distance)
    queries, gallery, backend = as_pair_of_rows(queries, gallery)
    exclude = _as_positions(exclude, queries, backend)
    others = len(gallery) - int(len(queries) > 0 and bool((exclude >= 0).all()))
    k = max(0, min(k, others))
    result = Neighbors(
        backend.array(np.zeros((len(queries), k), np.int64), like=queries),
        backend.array(np.zeros((len(queries), k), np.float32), like=queries),
    )
    shape = block_shape(queries, gallery, k, max_memory_bytes, backend)
    for rows in spans(len(queries) if k else 0, shape.queries):
        best = result.indices[rows, :0]
        for block in gallery_blocks(queries[rows], gallery, distance, shape.gallery, backend):
            found = _rank_keys(block, backend)
            if allowed is not None:
                columns = slice(block.start, block.stop)
                found[~backend.array(allowed(rows, columns), like=found)] = _NOTHING
            _put(found, block, exclude[rows], _NOTHING, backend)
            best = backend.concat([best, backend.largest(found, min(k, found.shape[1]))], axis=1)
            best = backend.largest(best, min(k, best.shape[1]))
        result.indices[rows], result.scores[rows] = _decode(best, backend)
    return result


def count_before(
    queries: Array,
    gallery: Array,
    scores: Array,
    positions: Array,
    *,
    distance: Distance = "cosine",
    exclude: Array | None = None,
    max_memory_bytes: int | None = None,
) -> Array:
    """Return how many gallery rows rank before a given place, int64 (Q,).

    A row ranks before it with a greater score, or with the same score at a smaller position.

    Args:
        queries: shape (Q, d), converted to float32.
        gallery: shape (G, d), converted to float32.
        scores: float32 (Q,), the score of the place.
        positions: int (Q,), 0 ... G, the position of the place.
        distance: as for `search`.
        exclude: as for `search`.
        max_memory_bytes: as for `search`.

    Example:
        >>> points = np.array([[0.0], [1.0], [3.0]])
        >>> count_before(points[:1], points, np.float32([-1.0]), np.array([1]), distance="l2")
        array([1])
    """
    check_distance(distance)
    queries, gallery, backend = as_pair_of_rows(queries, gallery)
    exclude = _as_positions(exclude, queries, backend)
    scores = backend.array(scores, like=queries)[:, None]
    positions = _as_positions(positions, queries, backend)[:, None]
    counts = backend.array(np.zeros(len(queries), np.int64), like=queries)
    shape = block_shape(queries, gallery, 0, max_memory_bytes, backend)
    for rows in spans(len(queries), shape.queries):
        for block in gallery_blocks(queries[rows], gallery, distance, shape.gallery, backend):
            columns = backend.array(np.arange(block.start, block.stop), like=queries)[None, :]
            tied = (block.scores == scores[rows]) & (columns < positions[rows])
            before = (block.scores > scores[rows]) | tied
            _put(before, block, exclude[rows], False, backend)
            counts[rows] += before.sum(axis=1)
    return counts


def ordered(scores: Array, backend: Backend) -> Array:
    """Return float32 scores as int32 in the same order (no NaN, no negative zero)."""
    bits = backend.bits(scores)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def from_ordered(keys: Array, backend: Backend) -> Array:
    """Return the float32 scores that `ordered` turned into integers."""
    return backend.from_bits(keys ^ ((keys >> 31) & 0x7FFFFFFF))


def _as_positions(positions: Array | None, queries: Array, backend: Backend) -> Array:
    if positions is None:
        positions = np.full(len(queries), -1)
    return backend.int64(backend.array(backend_of(positions).numpy(positions), like=queries))


def _rank_keys(block: Block, backend: Backend) -> Array:
    """Return int64 keys that order as (score, - position) do: 32 bits each."""
    columns = np.arange(block.start, block.stop)[None, :]
    keys = backend.int64(ordered(block.scores, backend)) << 32
    keys |= backend.array(_LOW - columns, like=keys)
    return keys


def _put(values: Array, block: Block, exclude: Array, value: int, backend: Backend) -> None:
    """Set a block's values to `value` at the position that each query leaves out."""
    (rows,) = backend.positions((exclude >= block.start) & (exclude < block.stop))
    values[rows, exclude[rows] - block.start] = value


def _decode(keys: Array, backend: Backend) -> Neighbors:
    nothing = keys == _NOTHING
    indices = _LOW - (keys & _LOW)
    scores = from_ordered(keys >> 32, backend)
    indices[nothing] = -1
    scores[nothing] = -np.inf
    return Neighbors(indices, scores)
