"""The samples that went worst."""

from typing import Any, NamedTuple

import numpy as np

from milepost._report._items import Item, items_of
from milepost._report._numbers import number
from milepost._report._page import fill
from milepost._report._query_tables import QueryRuns, as_texts, main_metric, telling
from milepost._report._run_files import RunFiles
from milepost._report._section import Section

_MOST = 18  # samples
_TOLD = ("label", "predicted", "confidence", "score")  # columns of any inferencer that are told


class Sample(NamedTuple):
    """A sample to show: its id, what it looks like, and what is known of it, in words."""

    id: Any
    item: Item
    told: list[str]


def worst_samples(run: RunFiles) -> Section | None:
    """Return the samples that went worst, by the metric of each runner that tells most."""
    lists = [each for runner in run.evaluations if (each := _worst(run, runner)) is not None]
    if not lists:
        return None
    return Section("worst-samples", "Worst samples", fill("samples.html", lists=lists))


def _worst(run: RunFiles, runner: str) -> dict[str, Any] | None:
    """Return what the template shows of one runner."""
    names = [x for x in run.table_names(runner) if x.rpartition("/")[2] == "samples"]
    tables = {name: table for name in names if (table := run.table(runner, name)) is not None}
    metrics = {name: metric for name, x in tables.items() if (metric := main_metric(x))}
    if not metrics:
        return None
    name = min(metrics, key=lambda each: telling(metrics[each]))
    runs = QueryRuns(run, runner, name.rpartition("/")[0], metrics[name], unit="samples")
    found = runs.read(runs.best_step)
    if found is None:
        return None
    rows = found.worst(_MOST).tolist()
    ids = [found.ids[row].item() for row in rows]
    items = items_of(run, runner, ids)
    words = _words(run, runner, names, runs.best_step, ids)
    samples = [
        Sample(
            own,
            items.query(own),
            [*words.get(own, ()), f"{runs.metric} {number(found.values[row])}"],
        )
        for own, row in zip(ids, rows, strict=True)
    ]
    return {
        "runs": runs,
        "at": runs.evaluations[runs.best_step],
        "samples": samples,
        "items": items,
    }


def _words(
    run: RunFiles, runner: str, names: list[str], step: int, ids: list[Any]
) -> dict[Any, list[str]]:
    """Return what any inferencer tells of some samples besides its metrics."""
    words: dict[Any, dict[str, str]] = {}
    read = [table for name in names if (table := run.table(runner, name, step)) is not None]
    for table in sorted(read, key=lambda table: "predicted" not in table):  # it may name classes
        some = np.isin(table["id"], ids)
        for column in (column for column in _TOLD if column in table):
            values = table[column][some]
            is_score = values.dtype.kind == "f" and column != "label"
            texts = map(number, values.tolist()) if is_score else as_texts(values)
            for own, text in zip(table["id"][some].tolist(), texts, strict=True):
                words.setdefault(own, {}).setdefault(column, f"{column} {text}")
    return {
        own: [told[column] for column in _TOLD if column in told] for own, told in words.items()
    }
