"""Exact nearest neighbours, in blocks, with ties ranked by gallery position.

Q and G are the numbers of queries and of gallery rows, d is the dimension.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from milepost.neighbors._backend import Array, Backend, backend_of
from milepost.neighbors._blocks import (
    Tile,
    block_shape,
    gallery_blocks,
    memory_budget,
    spans,
    tiles,
)
from milepost.neighbors._filtered_search import filtered_search
from milepost.neighbors._rank_keys import NOTHING, decode, merged, rank_keys
from milepost.neighbors._rank_keys import Neighbors as Neighbors
from milepost.neighbors._ranked_rows import AnyDistance, ranked_rows
from milepost.neighbors._repeated import repeated
from milepost.neighbors._score import Scored, pair_scores_of, score_block
from milepost.neighbors._sure import decisions

_DECODED = 1 << 18  # keys decoded at once

Ints = npt.NDArray[np.int64]


def pair_scores(
    queries: Array,
    gallery: Array,
    *,
    distance: AnyDistance = "cosine",
    max_memory_bytes: int | None = None,
) -> Array:
    """Return the score of every query with every gallery row, float32 (Q, G).

    The module `_score` defines it: the value of a pair does not depend on the other pairs, on
    blocks, threads or devices, nor on whether the arrays are NumPy's or torch's.

    Memory: 4 Q G bytes for the result, and blocks under `max_memory_bytes`.

    Args:
        queries: shape (Q, d), converted to float32.
        gallery: shape (G, d), converted to float32.
        distance: `"cosine"`, `"dot"`, `"l2"` (minus the squared Euclidean distance), or any
            distance or similarity, such as `LpDistance(p=1)`: rows rank by its values (minus them,
            for a distance) or, where it is made of a score (`ranks_as`), by that of prepared rows.
        max_memory_bytes: the budget of blocks; None: a quarter of what is available.

    Example:
        >>> pair_scores(np.array([[3.0, 4.0]]), np.array([[0.0, 0.0], [3.0, 1.0]]), distance="l2")
        array([[-25.,  -9.]], dtype=float32)
    """
    queries, gallery, scored_by, backend = ranked_rows(queries, gallery, distance)
    shape = block_shape(queries, gallery, 0, max_memory_bytes, backend)
    result = backend.array(np.empty((len(queries), len(gallery)), np.float32), like=queries)
    for rows in spans(len(queries), shape.queries):
        for block in gallery_blocks(queries[rows], gallery, scored_by, shape.gallery, backend):
            result[rows, block.start : block.stop] = block.scores
    return result


def search(
    queries: Array,
    gallery: Array,
    k: int,
    *,
    distance: AnyDistance = "cosine",
    exclude: Array | None = None,
    allowed: Callable[[slice, slice], Array] | None = None,
    scored: bool = True,
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
        distance: `"cosine"`, `"dot"`, `"l2"` (minus the squared Euclidean distance), or any
            distance or similarity, such as `LpDistance(p=1)`: rows rank by its values (minus them,
            for a distance) or, where it is made of a score (`ranks_as`), by that of prepared rows.
        exclude: int (Q,), the gallery position that a query leaves out (its own copy), or -1.
        allowed: says for a slice of queries and a slice of the gallery which pairs count, bool.
        scored: False: scores may be off by the error of a float32 product, where only the order is
            asked for; it stays exact. Quicker for long lists.
        max_memory_bytes: the budget; None: a quarter of what is available.

    Example:
        >>> points = np.array([[0.0], [1.0], [3.0]])
        >>> search(points, points, 1, distance="l2", exclude=np.arange(3)).indices.tolist()
        [[1], [0], [1]]
    """
    if k < 1:
        msg = f"`k` must be at least 1, got {k}"
        raise ValueError(msg)
    queries, gallery, scored_by, backend = ranked_rows(queries, gallery, distance)
    exclude = _as_positions(exclude, queries, backend)
    others = len(gallery) - int(len(queries) > 0 and bool((exclude >= 0).all()))
    k = max(0, min(k, others))
    budget = memory_budget(max_memory_bytes, gallery)
    result = Neighbors(
        backend.array(np.zeros((len(queries), k), np.int64), like=queries),
        backend.array(np.zeros((len(queries), k), np.float32), like=queries),
    )
    best = result.indices  # keys at first
    best += NOTHING
    arguments = queries, gallery, best, exclude, scored_by, budget
    if allowed is not None:
        _compare_all(*arguments, np.arange(len(queries) if k else 0), allowed)
    elif k and not _search_repeated(*arguments):
        left = np.arange(len(queries))
        if isinstance(scored_by, str):
            left = filtered_search(
                queries,
                gallery,
                best,
                distance=scored_by,
                exclude=exclude,
                budget=budget,
                scored=scored,
            )
        _compare_all(*arguments, left, None)
    for some in spans(len(queries), _DECODED // max(1, k) + 1):
        result.indices[some], result.scores[some] = decode(best[some], backend)
    return result


def _search_repeated(
    queries: Array,
    gallery: Array,
    best: Array,
    exclude: Array,
    distance: Scored,
    budget: int,
) -> bool:
    """Put the keys of the nearest into `best`, if most gallery rows are repeated."""
    backend, k = backend_of(queries), best.shape[1]
    few = repeated(gallery, k, distance, budget, backend)
    if few is None:
        return False
    near = min(k + 1, len(few.rows))
    for some in spans(len(queries), max(1, _DECODED // (near * few.members.shape[1]))):
        found = search(queries[some], few.rows, near, distance=distance, max_memory_bytes=budget)
        best[some] = few.keys(found, exclude[some], k, backend)
    return True


def _compare_all(
    queries: Array,
    gallery: Array,
    best: Array,
    exclude: Array,
    distance: Scored,
    budget: int,
    left: Ints,
    allowed: Callable[[slice, slice], Array] | None,
) -> None:
    """Merge the keys of all pairs of some queries into `best`, the largest of each query."""
    backend, k = backend_of(queries), best.shape[1]
    shape = block_shape(queries, gallery, k, budget, backend)
    for some in spans(len(left), shape.queries):
        rows = backend.array(left[some], like=queries)
        for block in gallery_blocks(queries[rows], gallery, distance, shape.gallery, backend):
            positions = backend.array(np.arange(block.start, block.stop)[None, :], like=queries)
            found = rank_keys(block.scores, positions, backend)
            columns = slice(block.start, block.stop)
            if allowed is not None:
                found[~backend.array(allowed(some, columns), like=found)] = NOTHING
            _put(found, columns, exclude[rows], NOTHING, backend)
            best[rows] = merged(best[rows], found, k, backend)


def count_before(
    queries: Array,
    gallery: Array,
    scores: Array,
    positions: Array,
    *,
    distance: AnyDistance = "cosine",
    exclude: Array | None = None,
    allowed: Callable[[slice, slice], Array] | None = None,
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
        allowed: as for `search`.
        max_memory_bytes: as for `search`.

    Example:
        >>> points = np.array([[0.0], [1.0], [3.0]])
        >>> count_before(points[:1], points, np.float32([-1.0]), np.array([1]), distance="l2")
        array([1])
    """
    queries, gallery, scored_by, backend = ranked_rows(queries, gallery, distance)
    exclude = _as_positions(exclude, queries, backend)
    scores = backend.array(scores, like=queries)
    positions = _as_positions(positions, queries, backend)
    counts = backend.array(np.zeros(len(queries), np.int64), like=queries)
    budget = memory_budget(max_memory_bytes, gallery)
    for tile in tiles(queries, gallery, scored_by, budget, backend):
        place = scores[tile.rows], positions[tile.rows] - tile.columns.start
        before = _before(tile, *place, scored_by, backend)
        if allowed is not None:
            before &= backend.array(allowed(tile.rows, tile.columns), like=before)
        _put(before, tile.columns, exclude[tile.rows], False, backend)
        counts[tile.rows] += before.sum(axis=1)
    return counts


def _before(
    tile: Tile, scores: Array, positions: Array, distance: Scored, backend: Backend
) -> Array:
    """Return which gallery rows of a tile rank before each query's place, bool (q, g)."""
    decided = decisions(
        tile.queries, tile.gallery, backend.float64(scores)[:, None], 0.0, distance, backend
    )
    if decided is None:
        found = score_block(tile.queries, tile.gallery, distance, backend)
        columns = backend.array(np.arange(len(tile.gallery)), like=positions)[None, :]
        tied = (found == scores[:, None]) & (columns < positions[:, None])
        return tied | (found > scores[:, None])
    i, j = backend.positions(decided.doubt)
    found = pair_scores_of(tile.queries, tile.gallery, i, j, distance, backend)
    tied = (found == scores[i]) & (j < positions[i])
    decided.sure[i, j] = tied | (found > scores[i])
    return decided.sure


def _as_positions(positions: Array | None, queries: Array, backend: Backend) -> Array:
    if positions is None:
        positions = np.full(len(queries), -1)
    return backend.int64(backend.array(backend_of(positions).numpy(positions), like=queries))


def _put(values: Array, columns: slice, exclude: Array, value: int, backend: Backend) -> None:
    """Set values of some gallery rows to `value` at the position that each query leaves out."""
    (rows,) = backend.positions((exclude >= columns.start) & (exclude < columns.stop))
    values[rows, exclude[rows] - columns.start] = value
