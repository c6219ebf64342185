"""Confidence intervals of metrics, by resampling what they are means over.

R is the number of rows of a table of evidence, U the number of units that are resampled, B the
number of resamples.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from statistics import NormalDist
from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._evidence import Columns, Floats, Over

Ints = npt.NDArray[np.int64]

_COLUMNS = {"class": "label", "group": "group"}  # rows with one value depend on one another
_FEWEST = 200  # resamples
_MOST_DRAWS = 2 * 10**7
_BLOCK = 1 << 22  # weights at once: 32 MiB


class Interval(NamedTuple):
    """Where a metric may lie: NaN where there is nothing to tell it from."""

    low: float
    high: float


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Confidence intervals by the bootstrap: how far a metric would move with other samples.

    Queries (or samples) are drawn with replacement, as many as there are, and the metric is
    computed anew; the interval holds the middle of what the resamples give, widened as Student's t
    is wider than a normal distribution, which a few units need (the expanded percentile interval;
    Hesterberg, What Teachers Should Know about the Bootstrap, The American Statistician 69, 2015).

    It says how much depends on which queries were asked; the gallery and the model stay. Where the
    queries of a class are alike (the same person, product or document), they are no independent
    evidence: `over="class"` draws whole classes.

    The same seed gives the same interval, whatever the batch size, the ranks and the order. Cost:
    up to 1,000 rows are drawn `resamples` times; at more than 20,000 rows there are fewer
    resamples, so that no more than 20 million rows are drawn, but 200 at least. Memory: about 100
    MiB.

    Args:
        level: the share of evaluations whose interval should hold the true value, such as 0.95.
        resamples: how many, at least 200.
        over: what is drawn: `"query"` (or sample), `"class"` (all rows of equal `label`) or
            `"group"` (all rows of equal `group`).
        seed: of the draws.

    Raises:
        ValueError: an argument is out of range.
    """

    level: float = 0.95
    resamples: int = 1000
    over: Over = "query"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            msg = f"`level` must be above 0 and below 1, such as 0.95, got {self.level!r}"
            raise ValueError(msg)
        if self.resamples < _FEWEST:
            msg = f"`resamples` must be at least {_FEWEST}, got {self.resamples!r}"
            raise ValueError(msg)
        if self.over not in ("query", *_COLUMNS):
            msg = f"`over` must be 'query', 'class' or 'group', got {self.over!r}"
            raise ValueError(msg)

    @property
    def column(self) -> str | None:
        """The column whose values are drawn; None where rows are."""
        return _COLUMNS.get(self.over)

    def suits(self, table: Columns) -> bool:
        """Return whether a table has what is drawn; an empty one has nothing to miss."""
        return not table or self.column is None or self.column in table

    def intervals(
        self, resampled: Callable[[Floats], Mapping[str, Floats]], table: Columns
    ) -> dict[str, Interval]:
        """Return the interval of each metric that can be resampled.

        Args:
            resampled: gives each metric's values, shape (B,), for weights of rows (B, R).
            table: one row a query or sample, which `suits`.
        """
        units = self._units(table)
        count = int(units.max(initial=-1)) + 1
        if not count:
            return {}
        parts = [resampled(weights) for weights in self._weights(units, count)]
        values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        tail = _expanded_tail(self.level, count)
        return {name: _percentiles(each, tail) for name, each in values.items()}

    def _units(self, table: Columns) -> Ints:
        """Return the number of each row's unit."""
        rows = len(next(iter(table.values()), ()))
        if self.column is None or not rows:
            return np.arange(rows)
        return np.unique(table[self.column], axis=0, return_inverse=True)[1].reshape(rows)

    def _weights(self, units: Ints, count: int) -> Iterator[Floats]:
        """Give the weights of all resamples, in blocks of shape (B, R)."""
        rows = len(units)
        rng = np.random.default_rng(self.seed)
        left = min(self.resamples, max(_FEWEST, _MOST_DRAWS // rows))
        while left:
            block = min(left, max(1, _BLOCK // rows))
            drawn = rng.integers(count, size=(block, count)) + count * np.arange(block)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=block * count).reshape(block, count)
            yield counts[:, units].astype(np.float64)
            left -= block


def _percentiles(values: Floats, tail: float) -> Interval:
    finite = values[np.isfinite(values)]
    if finite.size < 2:
        return Interval(math.nan, math.nan)
    low, high = np.quantile(finite, (tail, 1 - tail), method="weibull")
    return Interval(float(low), float(high))


def _expanded_tail(level: float, units: int) -> float:
    """Return the share of resamples beyond each end, less than (1 - level) / 2 for few units."""
    if units < 2:
        return 0.0
    return NormalDist().cdf(-math.sqrt(units / (units - 1)) * _student((1 + level) / 2, units - 1))


def _student(p: float, freedom: int) -> float:
    """Return the quantile of Student's t: with t = sqrt(f) tan a, a has the density cos(a)^(f-1).

    Example:
        >>> round(_student(0.975, 10), 3)
        2.228
    """
    if freedom > 10**4:
        return NormalDist().inv_cdf(p)
    angle = np.linspace(0, math.pi / 2, 100_001)
    density = np.cos(angle) ** (freedom - 1)
    share = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(freedom) * math.tan(np.interp(2 * p - 1, share / share[-1], angle))
