"""How the metrics of one inferencer differ between two evaluations.

N is the number of queries, M that of metrics.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import numpy as np
import numpy.typing as npt

from milepost._run_tables import RunEvidence
from milepost._sign_flips import sign_flip_p
from milepost.inferencers import (
    NO_METRICS,
    Bootstrap,
    Interval,
    is_mean,
    weighted_means,
    zeros_and_ones,
)

Columns = Mapping[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]

_SHOWN = 5  # ids in a message
_NEVER = "it is no mean over queries, and has no confidence interval"
_NO_MEAN = "it is no mean over queries; give both evaluations the same `confidence`, such as 0.95"


@final
@dataclass(frozen=True)
class Change:
    """How one metric differs between two evaluations of the same queries.

    Attributes:
        metric: its full name.
        queries: how many have a value in both.
        first: the metric of them in the first run.
        second: in the second run.
        difference: `second - first`.
        low: the lower end of its confidence interval.
        high: the upper end.
        p: how often a difference as large would come about if it did not matter which run is
            which: of a mean over queries by a sign-flip permutation test, else 1 - the level of
            the interval that ends at 0.
        higher: how many queries have a higher value of their own in the second run.
        lower: how many have a lower one.
        most: the queries that changed most, as `{"id", "label", "first", "second"}`; of equal
            changes those that changed most in all metrics together.
    """

    metric: str
    queries: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    higher: int
    lower: int
    most: tuple[dict[str, Any], ...]


@final
class Comparison:
    """Compares what an inferencer left of two evaluations.

    Args:
        one: of the first.
        other: of the second.
        bootstrap: how to find intervals; None: over what the evaluations drew, if they did.

    Attributes:
        left_out: metrics that cannot be compared, by full name, and why.
    """

    def __init__(self, one: RunEvidence, other: RunEvidence, bootstrap: Bootstrap | None) -> None:
        self._both = one, other
        drawn = one.resamples, other.resamples
        if bootstrap is None:
            bootstrap = Bootstrap(over=drawn[0].over if drawn[0] and drawn[1] else "query")
        self._bootstrap = bootstrap
        shared = {x: full for x, full in one.metrics.items() if x in other.metrics}
        self._means = {x: full for x, full in shared.items() if self._is_mean(x, full)}
        rest = {x: full for x, full in shared.items() if x not in self._means}
        why_not = self._why_not() if rest else ""
        resampled = [set() if each is None else set(each.metrics) for each in drawn]
        is_drawn = resampled[0] & resampled[1] if not why_not else set()
        self._drawn = {x: full for x, full in rest.items() if x in is_drawn}
        self.left_out = {full: why_not or _NEVER for x, full in rest.items() if x not in is_drawn}

    @property
    def names(self) -> list[str]:
        """The full names of the metrics that can be compared."""
        return [*self._means.values(), *self._drawn.values()]

    @property
    def unnamed(self) -> dict[str, str]:
        """What else both runners logged, whoever computed it, and why it is not compared."""
        one, other = (each.scalars for each in self._both)
        ends = {f"{name}/{end}" for name in one for end in ("low", "high")}
        return dict.fromkeys((name for name in one if name in other and name not in ends), _NO_MEAN)

    def changes(self, wanted: Collection[str], most: int) -> list[Change]:
        """Return how they differ.

        Args:
            wanted: full names; others are left out.
            most: how many queries that changed most to name.

        Raises:
            ValueError: the evaluations had other queries, or have nothing to draw over.
        """
        means, drawn = (
            {x: full for x, full in each.items() if full in wanted}
            for each in (self._means, self._drawn)
        )
        if not means and not drawn:
            return []
        _check_ids(*self._both)
        return [*self._of_means(means, most), *self._of_drawn(drawn, most)]

    def _is_mean(self, name: str, full: str) -> bool:
        """Return whether a metric is the mean of its column in both evaluations."""
        return all(
            name not in NO_METRICS
            and name in x.columns
            and is_mean(x.columns[name], x.scalars[full])
            for x in self._both
        )

    def _why_not(self) -> str:
        """Return why metrics that are no means cannot be compared; empty: they can."""
        one, other = (each.resamples for each in self._both)
        if one is None or other is None:
            return _NO_MEAN
        if not one.is_drawn_like(other):
            return "it was drawn in two ways; give both evaluations the same `confidence`"
        if one.over != self._bootstrap.over:
            over = f"`confidence=Bootstrap(over={self._bootstrap.over!r})`"
            return f"it was drawn over {one.over!r}; give both evaluations {over}"
        return ""

    def _of_means(self, metrics: Mapping[str, str], most: int) -> list[Change]:
        if not metrics:
            return []
        values = self._values(metrics)
        values[:, np.isnan(values).any(axis=0)] = np.nan  # what one lacks counts in neither
        differences = values[1] - values[0]
        table = {**self._about(), **dict(zip(metrics.values(), differences, strict=True))}
        bootstrap = self._bootstrap
        if not bootstrap.suits(table):
            owner = self._both[0].inferencer
            msg = f"evidence of {owner!r} has no column {bootstrap.column!r} to draw over"
            raise ValueError(msg)
        resamples = bootstrap.draw(partial(weighted_means, table), table)
        assert resamples is not None
        p = sign_flip_p(_unit_sums(differences, bootstrap.units_of(table)), seed=bootstrap.seed)
        changes = []
        for at, full in enumerate(metrics.values()):
            counted = min(len(zeros_and_ones(each)) for each in values[:, at])  # 0: no shares
            if counted and resamples.units > 1:
                interval = resamples.share_difference_interval(full, counted, bootstrap.level)
            else:
                interval = resamples.interval(full, bootstrap.level)
            own = tuple(_mean(each) for each in values[:, at])
            changes.append(self._change(full, own, interval, p[at], values, at, most))
        return changes

    def _of_drawn(self, metrics: Mapping[str, str], most: int) -> list[Change]:
        one, other = (each.resamples for each in self._both)
        if not metrics or one is None or other is None:
            return []
        difference, values = other.minus(one), self._values(metrics)
        changes = []
        for at, (name, full) in enumerate(metrics.items()):
            interval = difference.interval(name, self._bootstrap.level)
            own, p = (one.value(name), other.value(name)), difference.p(name)
            change = self._change(full, own, interval, p, values, at, most)
            changes.append(replace(change, queries=values.shape[-1]))
        return changes

    def _change(
        self,
        full: str,
        own: tuple[float, ...],
        interval: Interval,
        p: float,
        values: Floats,
        at: int,
        most: int,
    ) -> Change:
        """Return the change of a metric.

        Args:
            full: its name.
            own: its values.
            interval: of their difference.
            p: of their difference.
            values: of the queries, shape (2, M, N).
            at: which of the M metrics it is.
            most: how many queries that changed most to name.
        """
        changed = values[1, at] - values[0, at]
        return Change(
            metric=full,
            queries=int((~np.isnan(changed)).sum()),
            first=own[0],
            second=own[1],
            difference=own[1] - own[0],
            low=interval.low,
            high=interval.high,
            p=float(p),
            higher=int((changed > 0).sum()),
            lower=int((changed < 0).sum()),
            most=_most_changed(self._about(), values, at, most),
        )

    def _about(self) -> dict[str, npt.NDArray[Any]]:
        columns = self._both[0].columns
        return {name: columns[name] for name in NO_METRICS if name in columns}

    def _values(self, metrics: Collection[str]) -> Floats:
        """Return the queries' own values of metrics, shape (2, M, N); NaN where they have none."""
        nothing = np.full(len(self._both[0].columns["id"]), np.nan)
        return np.array(
            [[_numbers(each.columns.get(x), nothing) for x in metrics] for each in self._both]
        )


def _numbers(column: npt.NDArray[Any] | None, nothing: Floats) -> Floats:
    is_one = column is not None and column.shape == nothing.shape and column.dtype.kind in "biuf"
    return np.asarray(column if is_one else nothing, np.float64)


def _check_ids(one: RunEvidence, other: RunEvidence) -> None:
    """Raise unless both have the same queries."""
    ids = [set(each.columns["id"].tolist()) for each in (one, other)]
    if ids[0] == ids[1]:
        return
    only = [sorted(ids[0] - ids[1], key=str), sorted(ids[1] - ids[0], key=str)]
    told = " and ".join(
        f"{len(each)} ids only in the {which} run, such as {each[:_SHOWN]}"
        for each, which in zip(only, ("first", "second"), strict=True)
        if each
    )
    msg = f"the evaluations of {one.inferencer!r} have other queries: {told}"
    raise ValueError(msg)


def _mean(values: Floats) -> float:
    """Return the mean; NaN is not counted."""
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if counted.size else math.nan


def _unit_sums(differences: Floats, units: npt.NDArray[np.int64]) -> Floats:
    """Return the sum over the rows of each unit, shape (U, M)."""
    counts = int(units.max(initial=-1)) + 1
    filled = np.where(np.isnan(differences), 0.0, differences)
    return np.stack([np.bincount(units, each, counts) for each in filled], axis=1)


def _most_changed(table: Columns, values: Floats, at: int, most: int) -> tuple[dict[str, Any], ...]:
    """Return the queries whose value of metric `at` changed most."""
    sizes = np.nan_to_num(np.abs(values[1] - values[0]))
    order = np.lexsort((table["id"], -sizes.sum(axis=0), -sizes[at]))[:most]
    return tuple(
        {
            "id": table["id"][row].item(),
            **({"label": table["label"][row].tolist()} if "label" in table else {}),
            "first": float(values[0, at, row]),
            "second": float(values[1, at, row]),
        }
        for row in order
        if sizes[at, row] > 0
    )
