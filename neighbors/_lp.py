"""The Lp norm in float64, with the same bits in every library and on every device.

Powers are made of products and square roots, which IEEE 754 rounds correctly everywhere; the `pow`
of a library is rounded in its own way, in places by the position in an array.
"""

import math

import numpy as np

from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._score import tree_sum


def lp_norm(x: Array, p: float, backend: Backend) -> Array:
    """Return (sum of x_i^p)^(1/p) over the last axis of `x`, which is overwritten.

    The sum is a tree sum of x_i / max x, so that no power leaves the range of float64; with p = 1
    nothing is divided. With p = infinity it is max x.

    Args:
        x: float64, not negative.
        p: at least 1.
        backend: what owns the array.
    """
    if p == 1:
        return tree_sum(x)
    largest = backend.last_axis_max(x)
    if math.isinf(p):
        return largest
    scale = largest + (largest == 0)
    x /= scale[..., None]
    return largest * power(tree_sum(power(x, p, backend)), 1 / p, backend)


def power(x: Array, exponent: float, backend: Backend) -> Array:
    """Return float64 x^exponent, for x not negative and an exponent above 0; it may be infinite.

    The whole part of the exponent takes a product for each of its bits, the rest a square root.

    Example:
        >>> from milepost.neighbors import _numpy
        >>> power(np.array([4.0, 9.0]), 2.5, _numpy)
        array([ 32., 243.])
    """
    fraction, whole = math.modf(exponent)
    bits = int(whole)
    result, square, root = 1.0, x, x
    with np.errstate(over="ignore"):
        while bits:
            result = result * square if bits & 1 else result
            bits >>= 1
            square = square * square if bits else square
        while fraction:
            root = backend.sqrt(root)
            fraction, bit = math.modf(2 * fraction)
            result = result * root if bit else result
    return result
