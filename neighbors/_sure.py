"""A float32 product in front of decisions: only pairs near the threshold need their exact score.

A float32 product of d numbers, in any order of summation, is at most about d 2^-24 |q||g| from the
exact one [Higham, Accuracy and Stability of Numerical Algorithms, 2002, ch. 3]; sixteen roundings
more cover squares, sums, and the score's own rounding. A pair whose product is farther than that
from the threshold is decided; the others are in doubt.
"""

import sys
from typing import NamedTuple

from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._blas import torch_in_place_of_openblas
from milepost.neighbors._score import Distance, tree_sum

_MOST_DOUBT = 1 / 64  # of the pairs; with more of them scoring all is quicker
_RANGE = (2.0**-40, 2.0**60)  # of lengths multiplied: nothing overflows or vanishes


class Decisions(NamedTuple):
    """Which pairs surely reach the threshold, and which are in doubt; bool (Q, R)."""

    sure: Array
    doubt: Array


def decisions(
    query: Array, ref: Array, least: float, slack: float, distance: Distance, backend: Backend
) -> Decisions | None:
    """Return which scores are at least `least`, or nothing where a float32 product cannot tell.

    Memory: 10 bytes a pair.

    Args:
        query: prepared rows, float32 (Q, d).
        ref: prepared rows, float32 (R, d).
        least: the threshold.
        slack: a score nearer than this to the threshold is in doubt in any case.
        distance: what the score is made of.
        backend: what owns the arrays.
    """
    squares, reach = [], 1.0
    if distance != "cosine":
        squares = [_squares(rows, backend) for rows in (query, ref)]
        lengths = [float(x.max()) ** 0.5 for x in squares]
        reach = sum(lengths) ** 2 if distance == "l2" else lengths[0] * lengths[1]
    if not _RANGE[0] < reach < _RANGE[1] or abs(least) > _RANGE[1]:
        return None
    products = _products(query, ref, backend)
    if products is None:
        return None
    if distance == "l2":
        products *= 2.0
        products -= backend.round32(squares[0])[:, None]
        products -= backend.round32(squares[1])[None, :]
    margin = slack + 1.01 * (query.shape[1] + 16) * 2.0**-24 * (reach + abs(least))
    sure = products >= least + margin
    doubt = products >= least - margin
    doubt ^= sure
    return (
        Decisions(sure, doubt) if int(doubt.sum()) <= _MOST_DOUBT * len(query) * len(ref) else None
    )


def _squares(rows: Array, backend: Backend) -> Array:
    rows = backend.float64(rows)
    rows *= rows
    return tree_sum(rows)


def _products(query: Array, ref: Array, backend: Backend) -> Array | None:
    """Return float32 products, or nothing where torch is told to compute them in less."""
    torch = sys.modules.get("torch")
    is_torch = torch is not None and isinstance(query, torch.Tensor)
    stand_in = None if is_torch else torch_in_place_of_openblas()
    if torch is None or not (is_torch or stand_in):
        return query @ ref.T
    if torch.get_float32_matmul_precision() != "highest":
        return None
    if stand_in:
        query, ref = stand_in.rows32(query), stand_in.rows32(ref)
    with torch.autocast(query.device.type, enabled=False):
        products = query @ ref.T
    return backend.numpy(products.numpy()) if stand_in else products
