"""The nearest of a few listed gallery rows, scored one by one."""

import numpy as np
import numpy.typing as npt

from milepost.neighbors import _numpy
from milepost.neighbors._backend import Array, backend_of
from milepost.neighbors._blocks import prepared_rows, spans
from milepost.neighbors._rank_keys import NOTHING, Neighbors, decode, rank_keys
from milepost.neighbors._ranked_rows import AnyDistance, check_any_distance, ranked_rows
from milepost.neighbors._score import pair_scores_of

Ints = npt.NDArray[np.int64]
_CHUNK = 1 << 22  # numbers gathered at once
_KEYS = 1 << 20  # made at once


def nearest_listed(
    queries: Array,
    gallery: Array,
    rows: Ints,
    positions: Ints,
    *,
    distance: AnyDistance = "cosine",
) -> Neighbors:
    """Return the nearest of the gallery rows that are listed for each query, (Q, 1), as NumPy.

    What `search` finds for k = 1 among allowed pairs; quicker where they are less than about a
    thirtieth of all. Memory: 16 bytes a listed pair, and 48 MiB or so.

    Args:
        queries: shape (Q, d), converted to float32.
        gallery: shape (G, d), converted to float32.
        rows: int64 (P,), ascending, the query of each pair.
        positions: int64 (P,), its gallery row.
        distance: as for `search`.

    Example:
        >>> points = np.array([[0.0], [1.0], [3.0]])
        >>> nearest_listed(points, points, np.array([0, 0, 2]), np.array([1, 2, 1])).indices
        array([[ 1],
               [-1],
               [ 1]])
    """
    scores = listed_scores(queries, gallery, rows, positions, distance=distance)
    best = np.full(len(queries), NOTHING)
    if len(rows):
        keys = rank_keys(scores[None, :], positions[None, :], _numpy)[0]
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        best[rows[starts]] = np.maximum.reduceat(keys, starts)
    return decode(best[:, None], _numpy)


def nearest_of(
    scores: npt.NDArray[np.float32], allowed: npt.NDArray[np.bool_], k: int
) -> Neighbors:
    """Return the k nearest by scores that are known, as NumPy.

    Memory: 8 bytes for each of some scores at a time, and 12 Q k bytes for the result.

    Args:
        scores: (Q, G), of which the larger is closer.
        allowed: (Q, G), which of them count.
        k: neighbours a query.

    Example:
        >>> nearest_of(np.float32([[1, 3, 3]]), np.array([[True, True, True]]), 2).indices
        array([[1, 2]])
    """
    width = min(k, scores.shape[1])
    indices = np.zeros((len(scores), width), np.int64)
    found = Neighbors(indices, np.zeros(indices.shape, np.float32))
    positions = np.arange(scores.shape[1])[None, :]
    for some in spans(len(scores), _KEYS // max(1, scores.shape[1]) + 1):
        keys = rank_keys(scores[some], positions, _numpy)
        keys[~allowed[some]] = NOTHING
        found.indices[some], found.scores[some] = decode(_numpy.largest(keys, width), _numpy)
    return found


def listed_scores(
    queries: Array,
    gallery: Array,
    rows: Ints,
    positions: Ints,
    *,
    distance: AnyDistance = "cosine",
) -> npt.NDArray[np.float32]:
    """Return the scores of pairs of queries and gallery rows, float32 (P,), as NumPy.

    Those of `pair_scores`. Memory: 16 bytes a pair, and 48 MiB or so.

    Args:
        queries: shape (Q, d), converted to float32.
        gallery: shape (G, d), converted to float32.
        rows: int64 (P,), the query of each pair.
        positions: int64 (P,), its gallery row.
        distance: as for `search`.

    Example:
        >>> points = np.array([[0.0], [1.0], [3.0]])
        >>> listed_scores(points, points, np.array([0, 2]), np.array([1, 1]), distance="l2")
        array([-1., -4.], dtype=float32)
    """
    check_any_distance(distance)
    scores = np.empty(len(rows), np.float32)
    for part in spans(len(rows), max(1, _CHUNK // queries.shape[1])):
        at = []  # rows, each of them once, and where each pair has them
        for x, each in ((queries, rows[part]), (gallery, positions[part])):
            backend = backend_of(x)
            used, where = np.unique(each, return_inverse=True)
            at.append((backend.take(x, backend.array(used, like=x)), where))
        (own, i), (others, j) = at
        own, others, scored, backend = ranked_rows(own, others, distance)
        i, j = (backend.array(each, like=own) for each in (i, j))
        own, others = (prepared_rows(x, scored, backend) for x in (own, others))
        scores[part] = backend.numpy(pair_scores_of(own, others, i, j, scored, backend))
    return scores
