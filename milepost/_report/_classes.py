"""The metrics of each class."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from milepost._report._numbers import count, numbers
from milepost._report._page import fill
from milepost._report._run_files import Columns, RunFiles
from milepost._report._section import Section
from milepost.callbacks import better
from milepost.inferencers import UNITS

Means: TypeAlias = dict[str, dict[Any, float]]
"""By column: the value of each label."""

_MOST = 100  # classes of a runner
_ABOUT = ("level", "label")
_LEFT_OUT = ("queries_without", "judged", "genuine_pairs", "impostor_pairs", "predicted_rows")
_COUNTS = {*UNITS, "rows"}
_MAIN = ("f1", "map@r", "hit_rate@1", "error@1")  # to be sorted by, if it is there


def classes(run: RunFiles) -> Section | None:
    """Return a table of each runner's classes, the worst first."""
    tables = [
        _table(f"{runner}, step {count(run.steps(runner)[-1])}", columns)
        for runner in run.runners
        for columns in _of_runner(run, runner)
    ]
    return Section("classes", "Classes", fill("classes.html", tables=tables)) if tables else None


def _of_runner(run: RunFiles, runner: str) -> list[Means]:
    """Return the columns of all inferencers, those that have the same classes together."""
    names = run.table_names(runner)
    owners = dict.fromkeys(name.rpartition("/")[0] for name in names)
    tables: dict[frozenset[Any], Means] = {}
    for owner in sorted(owners, key=lambda owner: f"{owner}/classes" not in names):
        found = _classes(run, runner, owner)
        labels = frozenset(label for values in found.values() for label in values)
        if len(labels) > 1:
            columns = tables.setdefault(labels, {})
            is_counted = not _COUNTS.isdisjoint(columns)
            more = {name: x for name, x in found.items() if not (is_counted and name in _COUNTS)}
            columns |= {name: values for name, values in more.items() if name not in columns}
    return list(tables.values())


def _table(title: str, columns: Means) -> dict[str, Any]:
    """Return the rows of the worst classes."""
    labels = list(next(iter(columns.values())))
    judged = [name for name in columns if better(name)]
    preferred = (name for main in _MAIN for name in judged if name.endswith(main))
    main = next(preferred, judged[0] if judged else None)
    which = "classes"
    if main is not None:
        sign = -1 if better(main) == "min" else 1
        labels.sort(key=lambda label: _key(sign * columns[main].get(label, np.nan)))
        which += f", the worst in {main} first"
    shown = labels[:_MOST]
    if len(shown) < len(labels):
        which = f"{len(shown)} of {count(len(labels))} {which}"
    cells = []
    for name, values in columns.items():
        column = [values.get(label, np.nan) for label in shown]
        cells.append(list(map(count, column)) if name in _COUNTS else numbers(column))
    return {
        "title": f"{title}: {which}",
        "columns": [("class", False), *((name, True) for name in columns)],
        "rows": [[_text(label), *row] for label, *row in zip(shown, *cells, strict=True)],
    }


def _classes(run: RunFiles, runner: str, owner: str) -> Means:
    """Return an inferencer's columns of classes: its own, or else means of its queries."""
    table = run.table(runner, f"{owner}/classes")
    if table is not None and "label" in table:
        keys = _keys(*(table[name] for name in _ABOUT if name in table))
        names = [name for name in table if name not in _ABOUT and table[name].dtype.kind in "iuf"]
        return {name: dict(zip(keys, table[name].tolist(), strict=True)) for name in _chosen(names)}
    for unit in UNITS:
        metrics = run.metric_columns(runner, f"{owner}/{unit}")
        table = run.table(runner, f"{owner}/{unit}") if metrics else None
        if table is not None and "label" in table:
            return _means(table, metrics, unit)
    return {}


def _means(table: Columns, metrics: Mapping[str, str], unit: str) -> Means:
    """Return the mean of each metric over the rows of each class, and how many there are."""
    keys = _keys(table["label"])
    distinct = list(dict.fromkeys(keys))
    place = {key: at for at, key in enumerate(distinct)}
    codes = np.array([place[key] for key in keys])
    found = {unit: np.bincount(codes, minlength=len(distinct)).astype(float)}
    for name in _chosen(list(metrics)):
        values = table[name].astype(float)
        valid = np.isfinite(values)
        sums, counts = (
            np.bincount(codes[valid], weights, len(distinct)) for weights in (values[valid], None)
        )
        with np.errstate(invalid="ignore"):  # 0 / 0: no value
            found[name] = sums / counts
    return {name: dict(zip(distinct, each.tolist(), strict=True)) for name, each in found.items()}


def _chosen(names: list[str]) -> list[str]:
    """Return names without further depths of a metric that is there already."""
    bases = {name.partition("@")[0] if "@r" not in name else name: name for name in names[::-1]}
    return [x for x in names if x in bases.values() and not x.startswith(_LEFT_OUT)]


def _keys(*columns: npt.NDArray[Any]) -> list[Any]:
    """Return the labels of rows; those of several columns or axes as tuples."""
    wide = [column.reshape(len(column), -1).T.tolist() for column in columns]
    flat = [axis for column in wide for axis in column]
    return flat[0] if len(flat) == 1 else list(zip(*flat, strict=True))


def _key(value: float) -> float:
    return np.inf if np.isnan(value) else value


def _text(label: Any) -> str:
    return " / ".join(map(str, label)) if isinstance(label, tuple) else str(label)
