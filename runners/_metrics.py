"""From what inferencers compute to scalars under names that never collide."""

import itertools
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any

from milepost.inferencers import (
    NO_METRICS,
    Bootstrap,
    Inferencer,
    Interval,
    Resamples,
    Table,
    is_mean,
    is_same,
    unit_table,
)
from milepost.predictors import to_numpy


def unique_names(inferencers: Sequence[Inferencer]) -> tuple[str, ...]:
    """Return a name for each inferencer; a second `retrieval` becomes `retrieval_2`."""
    names: list[str] = []
    for name in (inferencer.name for inferencer in inferencers):
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        names.append(next(free for free in itertools.chain([name], numbered) if free not in names))
    return tuple(names)


def compute(inferencer: Inferencer) -> dict[str, float]:
    """Return the metrics of an inferencer; warn of each value that is no scalar."""
    return _scalars(inferencer.name, inferencer.compute())


def find_resamples(
    bootstrap: Bootstrap,
    inferencer: Inferencer,
    tables: Mapping[str, Table],
    metrics: Mapping[str, float],
) -> Resamples | None:
    """Return what an inferencer's metrics would be of other rows; warn if it cannot be drawn.

    What is not the metric itself where all rows count once is left out.
    """
    table = unit_table(tables)
    if not bootstrap.suits(table):
        column = bootstrap.column
        _warn(f"evidence of {inferencer.name!r} has no column {column!r}: no confidence intervals")
        return None
    resampled = partial(inferencer.resampled, tables, over=bootstrap.over)
    found = bootstrap.draw(resampled, table)
    if found is None:
        return None
    others = [x for x in metrics.keys() & found.metrics if not is_same(metrics[x], found.value(x))]
    return replace(found, metrics={x: y for x, y in found.metrics.items() if x not in others})


def resamples_table(resamples: Resamples, tables: Mapping[str, Table]) -> Table:
    """Return the resamples of metrics that are no means of a column, and so cannot be found anew.

    Args:
        resamples: all of them.
        tables: the evidence of their inferencer.
    """
    table = unit_table(tables)
    means = (x for x in resamples.metrics.keys() & table if x not in NO_METRICS)
    known = {x for x in means if is_mean(table[x], resamples.value(x))}
    rest = {x: values for x, values in resamples.metrics.items() if x not in known}
    return replace(resamples, metrics=rest).table() if rest else {}


def full_names(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, str]]:
    """Return the name under which each metric of each inferencer is logged.

    A metric that several compute is prefixed, in each, by the inferencer's own name.
    """
    counts = Counter(key for each in metrics.values() for key in each)
    return {
        name: {key: f"{name}/{key}" if counts[key] > 1 else key for key in each}
        for name, each in metrics.items()
    }


def joined(
    metrics: Mapping[str, Mapping[str, float]], intervals: Mapping[str, Mapping[str, Interval]]
) -> dict[str, float]:
    """Return the scalars of all inferencers: each metric with the ends of its interval.

    Args:
        metrics: by the name of the inferencer.
        intervals: by the name of the inferencer; not every metric has one.
    """
    scalars = {}
    for name, names in full_names(metrics).items():
        for key, full in names.items():
            scalars[full] = metrics[name][key]
            if interval := intervals.get(name, {}).get(key):
                scalars[f"{full}/low"], scalars[f"{full}/high"] = interval
    return scalars


def _scalars(name: str, computed: Any) -> dict[str, float]:
    """Return what is a scalar; warn of each value that is not."""
    if computed is None:
        return {}
    if not isinstance(computed, Mapping):
        _warn(f"inferencer {name!r} computed a {type(computed).__name__}, not a mapping of scalars")
        return {}
    scalars = {}
    for key, value in computed.items():
        if _is_scalar(value):
            scalars[key] = float(value)
        else:
            kind = type(value).__name__
            _warn(f"inferencer {name!r} computed a {kind} for {key!r}; only scalars are logged")
    return scalars


def _is_scalar(value: Any) -> bool:
    if isinstance(value, Real):
        return True
    return getattr(value, "shape", None) == () and to_numpy(value).dtype.kind in "biuf"


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)
