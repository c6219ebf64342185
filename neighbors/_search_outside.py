"""Search among the gallery rows of other groups than the query's.

Where a group has few rows, as many more neighbours are asked for; where it has many, its queries
are searched together in what is left of the gallery. Q and G are the numbers of queries and of
gallery rows, d is the dimension.
"""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from milepost.neighbors import _numpy
from milepost.neighbors._backend import Array
from milepost.neighbors._blocks import memory_budget, spans
from milepost.neighbors._rank_keys import NOTHING, Neighbors, decode, merged, rank_keys
from milepost.neighbors._ranked_rows import AnyDistance, ranked_rows
from milepost.neighbors._search import search

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_SMALL = 1 / 32  # of the gallery: a group for which more neighbours are asked for
_FEWEST = 64  # queries of a group for which it pays to gather the rest of the gallery
_NUMBER_BYTES = 16  # of a row that is gathered
_ENTRIES = 1 << 18  # neighbours looked at at once


def search_outside(
    queries: Array,
    gallery: Array,
    k: int,
    query_groups: Ints,
    gallery_groups: Ints,
    *,
    distance: AnyDistance = "cosine",
    exclude: Ints | None = None,
    scored: bool = True,
    max_memory_bytes: int | None = None,
) -> Neighbors:
    """Return the k nearest gallery rows of other groups than the query's, exactly, as NumPy.

    What `search` finds among allowed pairs. Memory: as for `search`; lists of k and the size of a
    group, where that is below a thirtieth of the gallery; else the rest of the gallery, in pieces
    of a quarter of the budget.

    Args:
        queries: shape (Q, d), converted to float32.
        gallery: shape (G, d), converted to float32.
        k: neighbours a query, at least 1.
        query_groups: int64 (Q,).
        gallery_groups: int64 (G,).
        distance: as for `search`.
        exclude: as for `search`.
        scored: as for `search`.
        max_memory_bytes: as for `search`.

    Example:
        >>> points = np.array([[0.0], [1.0], [3.0]])
        >>> groups = np.array([0, 0, 1])
        >>> search_outside(points, points, 2, groups, groups, distance="l2").indices
        array([[ 2, -1],
               [ 2, -1],
               [ 1,  0]])
    """
    queries, gallery, scored_by, backend = ranked_rows(queries, gallery, distance)
    budget, k = memory_budget(max_memory_bytes, gallery), min(k, len(gallery))
    own = np.full(len(queries), -1) if exclude is None else exclude
    result = Neighbors(
        np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, np.float32)
    )
    if not k:
        return result
    sizes = _counts(query_groups, gallery_groups)
    small = sizes <= max(k, _SMALL * len(gallery))
    few = ~small & (_counts(query_groups, query_groups) < _FEWEST)

    def find(some: Ints, rows: Array, k: int, exclude: Ints, **more: Any) -> Neighbors:
        of_all = len(some) == len(queries)
        asked = queries if of_all else queries[backend.array(some, like=queries)]
        options = {"distance": scored_by, "exclude": exclude, "max_memory_bytes": budget, **more}
        found = search(asked, rows, k, **options)
        return Neighbors(*map(backend.numpy, found))

    (some,) = np.nonzero(small)
    if len(some):
        most = k + int(sizes[some].max())
        found = find(some, gallery, most, own[some], scored=scored)
        _put_outside(result, found, some, query_groups[some], gallery_groups)
    (some,) = np.nonzero(few)
    if len(some):
        allowed = partial(_differ, query_groups[some], gallery_groups)
        _put(result, some, find(some, gallery, k, own[some], allowed=allowed))
    piece = max(1, budget // (4 * _NUMBER_BYTES * queries.shape[1]))
    for group in np.unique(query_groups[~small & ~few]):
        (some,) = np.nonzero(query_groups == group)
        (others,) = np.nonzero(gallery_groups != group)
        for positions in (others[part] for part in spans(len(others), piece)):
            rows = gallery[backend.array(positions, like=gallery)]
            found = find(some, rows, k, _positions_in(positions, own[some]))
            _merge(result, some, found._replace(indices=np.append(positions, -1)[found.indices]))
    return result


def _counts(groups: Ints, among: Ints) -> Ints:
    """Return how often each of the groups is among some, (Q,)."""
    values, counts = np.unique(among, return_counts=True)
    at = _positions_in(values, groups)
    return np.where(at >= 0, np.append(counts, 0)[at], 0)


def _positions_in(values: Ints, wanted: Ints) -> Ints:
    """Return where each of the wanted is among ascending values, -1 where it is not."""
    at = np.searchsorted(values, wanted)
    return np.where(np.append(values, -1)[at] == wanted, at, -1)


def _differ(query_groups: Ints, gallery_groups: Ints, rows: slice, columns: slice) -> Bools:
    return np.asarray(query_groups[rows, None] != gallery_groups[None, columns])


def _put(result: Neighbors, some: Ints, found: Neighbors) -> None:
    """Put the neighbours of some queries into `result`."""
    k = found.indices.shape[1]
    result.indices[some, :k], result.scores[some, :k] = found


def _put_outside(
    result: Neighbors, found: Neighbors, some: Ints, query_groups: Ints, gallery_groups: Ints
) -> None:
    """Put the first neighbours of other groups into `result`, in the order in which they are."""
    for part in spans(len(some), _ENTRIES // max(1, found.indices.shape[1]) + 1):
        indices, scores = found.indices[part], found.scores[part]
        inside = (gallery_groups[indices] == query_groups[part, None]) | (indices < 0)
        order = np.argsort(inside, axis=1, kind="stable")[:, : result.indices.shape[1]]
        left_out = np.take_along_axis(inside, order, axis=1)
        indices, scores = (np.take_along_axis(x, order, axis=1) for x in (indices, scores))
        indices[left_out], scores[left_out] = -1, -np.inf
        _put(result, some[part], Neighbors(indices, scores))


def _merge(result: Neighbors, some: Ints, found: Neighbors) -> None:
    """Keep the nearest of both."""
    old = result.scores[some], result.indices[some]
    keys = [rank_keys(x, at, _numpy) for x, at in (old, (found.scores, found.indices))]
    keys[0][old[1] < 0], keys[1][found.indices < 0] = NOTHING, NOTHING
    best = merged(keys[0], keys[1], result.indices.shape[1], _numpy)
    _put(result, some, decode(best, _numpy))
