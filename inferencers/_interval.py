"""The interval that resampled values of a metric give."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from milepost.inferencers._evidence import Floats

_NORMAL = NormalDist()
_MANY = 10**4  # degrees of freedom, from which t is as good as normal


class Interval(NamedTuple):
    """Where a metric may lie; NaN where there is nothing to tell it from."""

    low: float
    high: float


def find_interval(
    value: float,
    resampled: Floats,
    left_out: Floats,
    units: float,
    level: float,
    narrowing: float = 1.0,
) -> Interval:
    """Return the accelerated, bias-corrected percentile interval, widened for few units.

    Its ends are quantiles of the resampled values: those of Student's t in place of a normal
    distribution, moved by how far the resamples are off centre and by how their spread changes
    with the value (Efron, Better Bootstrap Confidence Intervals, JASA 82, 1987; Hesterberg, What
    Teachers Should Know about the Bootstrap, The American Statistician 69, 2015).

    Args:
        value: the metric.
        resampled: its finite values, shape (B,).
        left_out: its finite values without each unit, or each group of units, in turn.
        units: how many independent units the value rests on; a fraction counts.
        level: the share of intervals that should hold the true value.
        narrowing: the share of the resamples' spread that counts.
    """
    if not math.isfinite(value) or resampled.size < 2:
        return Interval(math.nan, math.nan)
    bias, acceleration = _bias(value, resampled), _acceleration(left_out)
    reach = narrowing * reach_of(level, units)
    ends = (bias - reach, bias + reach)
    shares = [_NORMAL.cdf(bias + end / max(1 - acceleration * end, 0.1)) for end in ends]
    low, high = np.quantile(resampled, shares, method="weibull")
    return Interval(float(low), float(high))


def find_p(
    value: float, resampled: Floats, left_out: Floats, units: float, narrowing: float = 1.0
) -> float:
    """Return 1 - the level of the interval that ends at 0: the two-sided p value of a difference.

    It is never below 2 / (B + 1), of which the resamples know nothing.

    Args:
        value: as for `find_interval`, as are the others.
        resampled: the same.
        left_out: the same.
        units: the same.
        narrowing: the same.
    """
    if not math.isfinite(value) or resampled.size < 2:
        return math.nan
    if not resampled.std() > 0:
        return 1.0 if value == 0 else math.nan
    least, below = 1 / (resampled.size + 1), _share_below(0.0, resampled)
    beyond = -value / float(resampled.std())  # where no resample is, as far as they spread
    z = _NORMAL.inv_cdf(below) if 0 < below < 1 else beyond
    bias, acceleration = _bias(value, resampled), _acceleration(left_out)
    end = (z - bias) / max(1 + acceleration * (z - bias), 0.1)
    units = max(units, 2.0)
    reach = abs(end - bias) / narrowing * math.sqrt((units - 1) / units)
    return max(2 * least, 2 - 2 * _student_share(reach, units - 1))


def share_interval(
    value: float, variance: float, rows: int, units: float, level: float
) -> Interval:
    """Return the interval of a share of rows: that of Agresti and Coull, for as many rows as count.

    It holds for shares near 0 and 1 too, where no bootstrap knows what did not occur: half the
    square of the reach is added to the rows of either kind (Agresti and Coull, The American
    Statistician 52, 1998). As many rows count as would give the variance if they were independent
    (Korn and Graubard, Survey Methodology 24, 1998); where all agree, as many as there are units.

    Args:
        value: the share.
        variance: of it, by resamples.
        rows: how many there are.
        units: as for `find_interval`.
        level: as for `find_interval`.
    """
    is_known = units >= rows or not variance > 0  # it then follows from the share
    reach = _NORMAL.inv_cdf((1 + level) / 2) if is_known else reach_of(level, units)
    count = min(value * (1 - value) / variance, rows) if variance > 0 else min(units, rows)
    middle = (count * value + reach**2 / 2) / (count + reach**2)
    side = reach * math.sqrt(middle * (1 - middle) / (count + reach**2))
    return Interval(max(0.0, middle - side), min(1.0, middle + side))


def share_difference_interval(
    value: float, variance: float, rows: int, units: float, level: float
) -> Interval:
    """Return the interval of the difference of two shares of the same rows.

    Two units are added, of which one changes: half a unit each way (Agresti and Min, Statistics in
    Medicine 24, 2005). So it has a width where no row changed, too.

    Args:
        value: the difference.
        variance: of it, by resamples.
        rows: how many there are that count.
        units: as for `find_interval`.
        level: as for `find_interval`.
    """
    units = min(units, rows)
    middle = value * units / (units + 2)
    side = reach_of(level, units) * math.sqrt(variance * units**2 + 1) / (units + 2)
    return Interval(max(-1.0, middle - side), min(1.0, middle + side))


def reach_of(level: float, units: float) -> float:
    """Return how many standard deviations of the resamples an interval reaches to each side.

    Args:
        level: the share of intervals that should hold the true value.
        units: how many independent units the value rests on; a fraction counts.
    """
    units = max(units, 2.0)
    return math.sqrt(units / (units - 1)) * _student((1 + level) / 2, units - 1)


def _bias(value: float, resampled: Floats) -> float:
    """Return how many standard deviations the resamples are off centre."""
    return _NORMAL.inv_cdf(min(max(_share_below(value, resampled), 1e-3), 1 - 1e-3))


def _share_below(value: float, resampled: Floats) -> float:
    ties = np.count_nonzero(resampled == value)
    return float(np.count_nonzero(resampled < value) + ties / 2) / resampled.size


def _acceleration(left_out: Floats) -> float:
    """Return a sixth of the skewness of the metric, from its values without each unit."""
    influence = left_out.mean() - left_out if left_out.size else left_out
    spread = float((influence**2).sum())
    return float((influence**3).sum()) / (6 * spread**1.5) if spread > 1e-300 else 0.0


def _student(share: float, freedom: float) -> float:
    """Return the quantile of Student's t.

    Example:
        >>> round(_student(0.975, 10), 3)
        2.228
    """
    if freedom > _MANY:
        return _NORMAL.inv_cdf(share)
    angles, shares = _angles(freedom)
    return math.sqrt(freedom) * math.tan(float(np.interp(2 * share - 1, shares, angles)))


def _student_share(quantile: float, freedom: float) -> float:
    """Return the share of Student's t below a quantile that is not negative."""
    if freedom > _MANY:
        return _NORMAL.cdf(quantile)
    angles, shares = _angles(freedom)
    angle = math.atan(quantile / math.sqrt(freedom))
    return (1 + float(np.interp(angle, angles, shares))) / 2


def _angles(freedom: float) -> tuple[Floats, Floats]:
    """Return a from 0 on, and its distribution: where t = sqrt(f) tan a, a has cos(a)^(f-1)."""
    angles = np.linspace(0, math.pi / 2, 20_001)
    density = np.cos(angles) ** (freedom - 1)
    shares = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return angles, shares / shares[-1]
