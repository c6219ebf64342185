"""A float32 product in front of decisions: only pairs near the threshold need their exact score.

A float32 product of d numbers, in any order of summation, is at most about d 2^-24 |q||g| from the
exact one [Higham, Accuracy and Stability of Numerical Algorithms, 2002, ch. 3]; sixteen roundings
more cover squares, sums, and the score's own rounding. A pair whose product is farther than that
from the threshold is decided; the others are in doubt.
"""

from typing import NamedTuple

import numpy as np

from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._score import Scored, tree_sum

_MOST_DOUBT = 1 / 64  # of the pairs; with more of them scoring all is quicker
_RANGE = (2.0**-40, 2.0**60)  # of lengths multiplied: nothing overflows or vanishes


class Decisions(NamedTuple):
    """Which pairs surely reach the threshold, and which are in doubt; bool (Q, R)."""

    sure: Array
    doubt: Array


def decisions(
    query: Array,
    ref: Array,
    least: float | Array,
    slack: float,
    distance: Scored,
    backend: Backend,
) -> Decisions | None:
    """Return which scores are at least `least`, or nothing where a float32 product cannot tell.

    Memory: 10 bytes a pair.

    Args:
        query: prepared rows, float32 (Q, d).
        ref: prepared rows, float32 (R, d).
        least: the threshold, or float64 (Q, 1), one for each query.
        slack: a score nearer than this to the threshold is in doubt in any case.
        distance: what the score is made of.
        backend: what owns the arrays.
    """
    if not isinstance(distance, str):
        return None
    squares, reach = [], 1.0
    if distance != "cosine":
        squares = [_squares(rows, backend) for rows in (query, ref)]
        lengths = [float(x.max()) ** 0.5 for x in squares]
        reach = sum(lengths) ** 2 if distance == "l2" else lengths[0] * lengths[1]
    if isinstance(least, float):
        least = backend.array(np.full((1, 1), least), like=query)
    if not _RANGE[0] < reach < _RANGE[1] or not float(abs(least).max()) < _RANGE[1]:
        return None
    products = backend.products(query, ref)
    if distance == "l2":
        products *= 2.0
        products -= backend.round32(squares[0])[:, None]
        products -= backend.round32(squares[1])[None, :]
    margin = slack + 1.01 * (query.shape[1] + 16) * 2.0**-24 * (reach + abs(least))
    sure = products >= backend.round32(least + margin)
    doubt = products >= backend.round32(least - margin)
    doubt ^= sure
    few = backend.count(doubt) <= _MOST_DOUBT * len(query) * len(ref)
    return Decisions(sure, doubt) if few else None


def _squares(rows: Array, backend: Backend) -> Array:
    rows = backend.float64(rows)
    rows *= rows
    return tree_sum(rows)
