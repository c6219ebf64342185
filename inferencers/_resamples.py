"""What metrics would have been with other rows.

B is the number of resamples, L that of parts that are left out, S = 1 + B + L.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._evidence import Columns, Floats, Over
from milepost.inferencers._interval import (
    Interval,
    find_interval,
    find_p,
    share_difference_interval,
    share_interval,
)

PAIRS = "/pairs"
ALL, DRAWN, LEFT_OUT = "all", "drawn", "left_out"


@final
@dataclass(frozen=True)
class Resamples:
    """Metrics of all rows, of resamples, and of the rows without each unit in turn.

    Those of two evaluations of the same rows that were drawn alike belong to the same draws: how
    their differences spread tells how far the difference would move.

    Attributes:
        metrics: by name, shape (S,). One that is named `<metric>/pairs` moves as the chance of
            single pairs moves the metric, which counts twice where a pair is drawn with both its
            rows; the metric's interval is so much narrower.
        part: shape (S,), `"all"` (once), `"drawn"` or `"left_out"`.
        units: on how many independent units the metrics rest; a fraction counts.
        over: what was drawn.
        seed: of the draws.
        is_difference: whether they are differences of two. What bias the metrics have is taken to
            be the same in both: what their resamples tell of it is mostly noise.
    """

    metrics: Mapping[str, Floats]
    part: npt.NDArray[np.str_]
    units: float
    over: Over
    seed: int
    is_difference: bool = False

    def value(self, name: str) -> float:
        """Return a metric of all rows."""
        return float(self.metrics[name][0])

    def interval(self, name: str, level: float) -> Interval:
        """Return the confidence interval of a metric."""
        return find_interval(*self._of(name), self.units, level, self._narrowing(name))

    def share_interval(self, name: str, rows: int, level: float) -> Interval:
        """Return the interval of a metric that is the share of some rows."""
        about = self.value(name), self.variance(name)
        return share_interval(*about, rows, self.units, level)

    def share_difference_interval(self, name: str, rows: int, level: float) -> Interval:
        """Return the interval of the difference of two shares of the same rows."""
        about = self.value(name), self.variance(name)
        return share_difference_interval(*about, rows, self.units, level)

    def p(self, name: str) -> float:
        """Return 1 - the level at which the interval of a metric ends at 0."""
        return find_p(*self._of(name), self.units, self._narrowing(name))

    def variance(self, name: str) -> float:
        """Return the variance of a metric, as the resamples have it; NaN if there are none."""
        return self._variance(name) * self._narrowing(name) ** 2

    def minus(self, other: "Resamples") -> "Resamples":
        """Return how much the metrics of these are above those of others, draw by draw."""
        names = [name for name in self.metrics if name in other.metrics]
        differences = {name: self.metrics[name] - other.metrics[name] for name in names}
        return replace(self, metrics=differences, is_difference=True)

    def is_drawn_like(self, other: "Resamples") -> bool:
        """Return whether these are metrics of the same draws, if rows are the same."""
        mine, theirs = ((x.over, x.seed, x.units, len(x.part)) for x in (self, other))
        return mine == theirs

    def table(self) -> Columns:
        """Return all of it as a table of evidence."""
        about = {"part": self.part, "over": self.over, "seed": self.seed, "units": self.units}
        columns = {name: np.broadcast_to(each, len(self.part)) for name, each in about.items()}
        return {**columns, **self.metrics}

    @classmethod
    def of(cls, table: Columns) -> "Resamples":
        """Return what a table holds that `table` gave."""
        metrics = dict(table)
        about = {name: metrics.pop(name) for name in ("part", "over", "seed", "units")}
        over, seed, units = (about[name][0].item() for name in ("over", "seed", "units"))
        return cls(metrics, about["part"], units, over, seed)

    def _of(self, name: str) -> tuple[float, Floats, Floats]:
        """Return the middle of a metric, and its finite values in resamples, without each unit."""
        values = self.metrics[name]
        parts = (values[self.part == part] for part in (DRAWN, LEFT_OUT))
        drawn, left_out = (each[np.isfinite(each)] for each in parts)
        is_moved = self.is_difference and drawn.size > 0 and math.isfinite(self.value(name))
        return float(np.median(drawn)) if is_moved else self.value(name), drawn, left_out

    def _variance(self, name: str) -> float:
        drawn = self._of(name)[1]
        return float(np.var(drawn)) if drawn.size else math.nan

    def _narrowing(self, name: str) -> float:
        """Return the share of the spread that is left if no pair's chance counts twice."""
        twice = self._variance(name + PAIRS) if name + PAIRS in self.metrics else 0.0
        whole = self._variance(name)
        return math.sqrt(max(1 - twice / whole, 0.5)) if whole > 0 and twice > 0 else 1.0
