"""Histograms of whatever values come."""

import numpy as np

from milepost.callbacks._record import Array

_BINS = 64
_LARGEST = float(np.finfo(np.float32).max)


def binned(values: Array) -> tuple[Array, Array]:
    """Return the counts of 64 bins of equal width, and their 65 edges.

    NaN and infinity are left out; what float32 cannot hold counts as the largest that it can.
    Without any finite value the counts are 0.

    Args:
        values: floats of shape (N,).

    Example:
        >>> counts, edges = binned(np.array([0.0, 1.0, 1.0, np.nan]))
        >>> counts[0], counts[-1], edges[0], edges[-1]
        (np.int64(1), np.int64(2), np.float64(0.0), np.float64(1.0))
    """
    finite = values[np.isfinite(values)].astype(np.float64).clip(-_LARGEST, _LARGEST)
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    least = max(abs(low), abs(high)) * 1e-6 or 1.0  # narrower bins would round to none
    if high - low < least:
        low, high = low - least / 2, high + least / 2
    return np.histogram(finite, _BINS, range=(low, high))
