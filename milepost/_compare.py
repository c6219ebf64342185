"""Two evaluations compared query by query."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from milepost._run_tables import RunTable, RunTables
from milepost._sign_flips import sign_flip_p
from milepost.errors import unknown_name
from milepost.inferencers import Bootstrap, weighted_means

Columns = Mapping[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]

_ABOUT = ("id", "label", "group")
_SHOWN = 5  # ids in a message


@final
@dataclasses.dataclass(frozen=True)
class Change:
    """How one metric differs between two evaluations of the same queries.

    Attributes:
        metric: its full name.
        queries: how many have a value in both.
        first: the mean over them in the first run.
        second: in the second run.
        difference: `second - first`.
        low: the lower end of its confidence interval.
        high: the upper end.
        p: of a sign-flip permutation test: how often a difference as large would come about if it
            did not matter which run is which.
        higher: how many queries have a higher value in the second run.
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


def compare(
    first: str | Path,
    second: str | Path,
    *,
    runner: str | None = None,
    metrics: Sequence[str] = (),
    step: int | None = None,
    bootstrap: Bootstrap | None = None,
    most: int = 5,
) -> list[Change]:
    """Return how the metrics of two runs differ, their queries paired by id.

    Each metric is the mean over the queries that have a value in both runs. The result is the same
    each time.

    Args:
        first: the folder of a run.
        second: the folder of another, or the same.
        runner: whose evaluations; None for all that both have.
        metrics: full names, or names without the runner; none for all that both have.
        step: of the evaluations; None for the last of each run.
        bootstrap: how to find the confidence intervals; over classes, their signs are flipped
            together too.
        most: how many queries that changed most to name.

    Raises:
        FileNotFoundError: a run holds no tables.
        UnknownNameError: a runner, step or metric is not in both.
        ValueError: the runs have nothing in common, or other queries.
    """
    bootstrap = bootstrap or Bootstrap()
    runs = RunTables(Path(first)), RunTables(Path(second))
    names = [name for name in runs[0].runners if name in runs[1].runners]
    pairs = []
    for name in names if runner is None else [runner]:
        one, other = (run.read(name, step) for run in runs)
        pairs += [(table, other[key]) for key, table in one.items() if key in other]
    shared = [full for pair in pairs for full in _shared(*pair).values()]
    if not shared:
        msg = f"the runs {str(first)!r} and {str(second)!r} have no runner and metric in common"
        raise ValueError(msg)
    wanted = {name for metric in metrics for name in _find(metric, shared)} or set(shared)
    return [change for pair in pairs for change in _changes(*pair, wanted, bootstrap, most)]


def _shared(one: RunTable, other: RunTable) -> dict[str, str]:
    """Return the metrics that both tables hold: column and full name."""
    return {column: full for column, full in one.metrics.items() if column in other.metrics}


def _find(metric: str, names: Sequence[str]) -> list[str]:
    """Return the full names that a name may mean."""
    found = [name for name in names if metric in (name, name.partition("/")[2])]
    if not found:
        raise unknown_name("metric of both runs", metric, names)
    return found


def _changes(
    one: RunTable, other: RunTable, wanted: Collection[str], bootstrap: Bootstrap, most: int
) -> list[Change]:
    """Return the changes of the metrics of a pair of tables."""
    _check_ids(one, other)
    metrics = {col: full for col, full in _shared(one, other).items() if full in wanted}
    if not metrics:
        return []
    values = np.array([[table.columns[col] for col in metrics] for table in (one, other)], float)
    values[:, np.isnan(values).any(axis=0)] = np.nan  # what is missing in one counts in neither
    differences = values[1] - values[0]
    about: Columns = {name: one.columns[name] for name in _ABOUT if name in one.columns}
    if not bootstrap.suits(about):
        msg = f"evidence of {one.inferencer!r} has no column {bootstrap.column!r} to draw over"
        raise ValueError(msg)
    table = {**about, **dict(zip(metrics.values(), differences, strict=True))}
    intervals = bootstrap.intervals(partial(weighted_means, table), table)
    p = sign_flip_p(_unit_sums(differences, bootstrap.units_of(table)), seed=bootstrap.seed)
    return [
        Change(
            metric=full,
            queries=int((~np.isnan(change)).sum()),
            first=_mean(values[0, at]),
            second=_mean(values[1, at]),
            difference=_mean(change),
            low=intervals[full].low,
            high=intervals[full].high,
            p=float(p[at]),
            higher=int((change > 0).sum()),
            lower=int((change < 0).sum()),
            most=_most_changed(about, values[:, at], differences, at, most),
        )
        for at, (full, change) in enumerate(zip(metrics.values(), differences, strict=True))
    ]


def _check_ids(one: RunTable, other: RunTable) -> None:
    """Raise unless both tables have the same queries."""
    ids = [set(table.columns["id"].tolist()) for table in (one, other)]
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


def _most_changed(
    table: Columns, values: Floats, differences: Floats, at: int, most: int
) -> tuple[dict[str, Any], ...]:
    """Return the queries whose value of metric `at` changed most."""
    sizes = np.nan_to_num(np.abs(differences))
    order = np.lexsort((table["id"], -sizes.sum(axis=0), -sizes[at]))[:most]
    return tuple(
        {
            "id": table["id"][row].item(),
            **({"label": table["label"][row].tolist()} if "label" in table else {}),
            "first": float(values[0, row]),
            "second": float(values[1, row]),
        }
        for row in order
        if sizes[at, row] > 0
    )
