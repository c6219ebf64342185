"""The pairs whose score is in some narrow windows: a float32 product leaves out the others.

A float32 product of d numbers, in any order of summation, is at most about d 2^-24 |q||g| from the
exact one [Higham, Accuracy and Stability of Numerical Algorithms, 2002, ch. 3]; sixteen roundings
more cover squares, sums, and the score's own. A pair that is farther than that from every window is
not in one. The few that are left get their score as it is defined, one by one. Where they are not
few, or no float32 product can tell, all pairs are scored.
"""

import operator
from functools import reduce
from typing import NamedTuple

from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._ranges import Window
from milepost.neighbors._score import Distance, listed_scores, score_block, tree_sum

_MOST = 1 / 64  # of the pairs; where more are left, scoring all is quicker
_RANGE = (2.0**-40, 2.0**60)  # of the largest score: nothing overflows or vanishes


class Pairs(NamedTuple):
    """Some pairs: positions of their queries and gallery rows, and their scores; shape (P,)."""

    queries: Array
    gallery: Array
    scores: Array


class _Rough(NamedTuple):
    """Scores, float32 (Q, G), and how far off they are at most."""

    scores: Array
    error: float


def near_pairs(
    queries: Array, gallery: Array, windows: list[Window], distance: Distance, backend: Backend
) -> Pairs:
    """Return the pairs of prepared rows whose score is in a window, and maybe some others.

    Args:
        queries: prepared rows, float32 (Q, d).
        gallery: prepared rows, float32 (G, d).
        windows: of scores.
        distance: what the score is made of.
        backend: what owns the arrays.
    """
    rough = _rough_scores(queries, gallery, distance, backend)
    if rough is not None:
        at = _in_windows(rough.scores, windows, rough.error, backend)
        if len(at) <= _MOST * len(queries) * len(gallery):
            i, j = at // len(gallery), at % len(gallery)
            return Pairs(i, j, listed_scores(queries, gallery, i, j, distance, backend))
    scores = score_block(queries, gallery, distance, backend)
    at = _in_windows(scores, windows, 0.0, backend)
    return Pairs(at // len(gallery), at % len(gallery), scores.reshape(-1)[at])


def _in_windows(scores: Array, windows: list[Window], error: float, backend: Backend) -> Array:
    """Return where scores are in a window or nearer to one than the error, all rows in one."""
    least, most = windows[0]
    joined = [[least, most]]
    for least, most in windows[1:]:
        if least - joined[-1][1] <= 2 * error:
            joined[-1][1] = most
        else:
            joined.append([least, most])
    inside = ((scores >= least - error) & (scores <= most + error) for least, most in joined)
    (at,) = backend.positions(reduce(operator.ior, inside).reshape(-1))
    return at


def _rough_scores(
    queries: Array, gallery: Array, distance: Distance, backend: Backend
) -> _Rough | None:
    """Return float32 scores, or nothing where they may overflow or vanish."""
    squares, reach = [], 1.0
    if distance != "cosine":
        squares = [tree_sum(backend.float64(rows) ** 2) for rows in (queries, gallery)]
        lengths = [float(x.max()) ** 0.5 for x in squares]
        reach = sum(lengths) ** 2 if distance == "l2" else lengths[0] * lengths[1]
    if not _RANGE[0] < reach < _RANGE[1]:
        return None
    scores = backend.products(queries, gallery)
    if distance == "l2":
        scores *= 2.0
        scores -= backend.round32(squares[0])[:, None]
        scores -= backend.round32(squares[1])[None, :]
    # A score is at most `reach`, so that a window's end, rounded, is off by no more than a score.
    return _Rough(scores, 1.01 * (queries.shape[1] + 16) * 2.0**-24 * 2 * reach)
