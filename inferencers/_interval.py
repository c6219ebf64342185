"""The interval that resampled values of a metric give."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from milepost.inferencers._evidence import Floats

_NORMAL = NormalDist()


class Interval(NamedTuple):
    """Where a metric may lie; NaN where there is nothing to tell it from."""

    low: float
    high: float


def find_interval(value: float, resampled: Floats, left_out: Floats, reach: float) -> Interval:
    """Return the accelerated, bias-corrected percentile interval, widened for few units.

    Its ends are quantiles of the resampled values: those of Student's t in place of a normal
    distribution, moved by how far the resamples are off centre and by how their spread changes
    with the value (Efron, Better Bootstrap Confidence Intervals, JASA 82, 1987; Hesterberg, What
    Teachers Should Know about the Bootstrap, The American Statistician 69, 2015).

    Args:
        value: the metric.
        resampled: its values, shape (B,); NaN does not count.
        left_out: its values without each unit, or each group of units, in turn.
        reach: what `reach_of` gives.
    """
    finite = resampled[np.isfinite(resampled)]
    if not math.isfinite(value) or finite.size < 2:
        return Interval(math.nan, math.nan)
    below = np.count_nonzero(finite < value) + np.count_nonzero(finite == value) / 2
    bias = _NORMAL.inv_cdf(min(max(below / finite.size, 1e-3), 1 - 1e-3))
    acceleration = _acceleration(left_out[np.isfinite(left_out)])
    ends = (bias - reach, bias + reach)
    shares = [_NORMAL.cdf(bias + end / max(1 - acceleration * end, 0.1)) for end in ends]
    low, high = np.quantile(finite, shares, method="weibull")
    return Interval(float(low), float(high))


def reach_of(level: float, units: float) -> float:
    """Return how many standard deviations of the resamples an interval reaches to each side.

    Args:
        level: the share of intervals that should hold the true value.
        units: how many independent units the value rests on; a fraction counts.
    """
    units = max(units, 2.0)
    return math.sqrt(units / (units - 1)) * _student((1 + level) / 2, units - 1)


def _acceleration(left_out: Floats) -> float:
    """Return a sixth of the skewness of the metric, from its values without each unit."""
    influence = left_out.mean() - left_out if left_out.size else left_out
    spread = float((influence**2).sum())
    return float((influence**3).sum()) / (6 * spread**1.5) if spread > 1e-300 else 0.0


def _student(share: float, freedom: float) -> float:
    """Return the quantile of Student's t: with t = sqrt(f) tan a, a has the density cos(a)^(f-1).

    Example:
        >>> round(_student(0.975, 10), 3)
        2.228
    """
    if freedom > 10**4:
        return _NORMAL.inv_cdf(share)
    angles = np.linspace(0, math.pi / 2, 20_001)
    density = np.cos(angles) ** (freedom - 1)
    shares = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    angle = float(np.interp(2 * share - 1, shares / shares[-1], angles))
    return math.sqrt(freedom) * math.tan(angle)
