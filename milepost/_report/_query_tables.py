"""What evidence tells of single queries, chosen for people to look at.

Q is the number of queries.
"""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, final

import numpy as np
import numpy.typing as npt

from milepost._report._run_files import Columns, Evaluation, RunFiles
from milepost.callbacks import better
from milepost.inferencers import NO_METRICS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_TELLING = (
    *("map@r", "ndcg", "map", "map_min", "mrr", "r_precision", "recall", "precision", "hit_rate"),
    *("nll", "brier", "error", "accuracy"),
)
"""Which metrics tell most of a single query, the best first; of equal ones at the largest depth."""


class Near(NamedTuple):
    """A neighbour of a query.

    Attributes:
        key: its id, or what tells the object.
        is_object: whether an object ranks, not a row.
        told: its label, or its grade, in words; empty where there is neither.
        score: as the inferencer's distance gives it.
        is_right: whether it is relevant.
    """

    key: Any
    is_object: bool
    told: str
    score: float
    is_right: bool


@final
class QueryTables:
    """The queries of one evaluation of one inferencer.

    Args:
        metric: the column that tells how well a query went.
        queries: the table `queries`.
        neighbors: the table `neighbors`; None where there is none.

    Attributes:
        metric: what `values` are.
        ids: shape (Q,).
        labels: for people, None where there are none.
        values: shape (Q,), NaN where a query does not count.
    """

    def __init__(self, metric: str, queries: Columns, neighbors: Columns | None) -> None:
        self.metric = metric
        self.ids = queries["id"]
        self.labels = as_texts(queries["label"]) if "label" in queries else None
        self.values: Floats = queries[metric].astype(np.float64)
        near = neighbors or {}
        relevant = f"{metric.rpartition('/')[0]}/relevant".lstrip("/")  # at the metric's level
        self._relevant = relevant if relevant in near else None
        known = np.isin(near["id"], self.ids) if self._relevant else slice(0)
        self._near = {name: column[known] for name, column in near.items()}

    def worst(self, most: int) -> Ints:
        """Return which queries went worst: of equal ones, where a wrong neighbour leads by most.

        A query that could not have gone better is none of them.
        """
        sign = -1.0 if better(self.metric) == "min" else 1.0
        values = sign * self.values
        ideal = sign if sign > 0 else 0.0
        shown = ~np.isnan(values)
        if np.nanmax(np.abs(self.values), initial=0.0) <= 1:
            shown &= values < ideal
        order = np.lexsort((self.ids, -self._leads(), values))
        return order[shown[order]][:most]

    def neighbors_of(self, row: int) -> list[Near]:
        """Return the neighbours of a query that were kept, the nearest first."""
        if self._relevant is None:
            return []
        near, at = self._near, np.flatnonzero(self._near["id"] == self.ids[row])
        at = at[np.argsort(near["rank"][at], kind="stable")]
        key = "object" if "object" in near else "neighbor"
        told = _told({name: column[at] for name, column in near.items()})
        columns = near[key][at].tolist(), told, near["score"][at], near[self._relevant][at]
        return [
            Near(each, key == "object", words, float(score), bool(is_right))
            for each, words, score, is_right in zip(*columns, strict=True)
        ]

    def _leads(self) -> Floats:
        """Return by how much each query's best wrong neighbour scores above its best right one.

        Where all that were kept are wrong, above the last of them; minus infinity where all are
        right, or none was kept.
        """
        leads = np.full(len(self.ids), -np.inf)
        if self._relevant is None:
            return leads
        order = np.argsort(self.ids, kind="stable")
        rows = order[np.searchsorted(self.ids[order], self._near["id"])]
        scores = self._near["score"].astype(np.float64)
        right = self._near[self._relevant].astype(bool)
        best = np.full((2, len(self.ids)), -np.inf)  # of wrong ones, of right ones
        np.maximum.at(best, (right.astype(int), rows), scores)
        last = np.full(len(self.ids), np.inf)
        np.minimum.at(last, rows, scores)
        some = np.isfinite(best[0])
        against = np.where(np.isfinite(best[1]), best[1], last)
        leads[some] = best[0, some] - against[some]
        return leads


@final
class QueryRuns:
    """The evaluations of one inferencer that left tables of queries.

    Args:
        run: the files of the run.
        runner: whose evaluations.
        inferencer: whose tables.
        metric: the column that tells how well a query went.
        unit: `"queries"`, or `"samples"`, which have no neighbours.

    Attributes:
        runner: as given.
        inferencer: as given.
        metric: as given.
        evaluations: by step.
        steps: of the evaluations, ascending.
        best_step: that of the one whose metric was best; the last where that is not known.
    """

    def __init__(
        self,
        run: RunFiles,
        runner: str,
        inferencer: str,
        metric: str,
        *,
        unit: Literal["queries", "samples"] = "queries",
    ) -> None:
        self._run, self.runner, self.inferencer, self.metric = run, runner, inferencer, metric
        self._table = f"{inferencer}/{unit}"
        self.evaluations: dict[int, Evaluation] = {
            each.step: each
            for each in run.evaluations.get(runner, ())
            if each.step in run.steps(runner)
        }
        self.steps = list(self.evaluations)
        self.best_step = self._best()

    def read(self, step: int) -> QueryTables | None:
        """Return the tables of an evaluation, None if they cannot be read."""
        queries = self._run.table(self.runner, self._table, step)
        if queries is None or self.metric not in queries or not len(queries["id"]):
            return None
        near = self._run.table(self.runner, f"{self.inferencer}/neighbors", step)
        return QueryTables(self.metric, queries, near)

    def logged(self, step: int) -> float:
        """Return the metric of an evaluation, NaN if it was not logged."""
        metrics = self.evaluations[step].metrics
        names = self.metric, f"{self.inferencer}/{self.metric}"
        return next((metrics[name] for name in names if name in metrics), np.nan)

    def _best(self) -> int:
        mode = better(self.metric)
        values = np.array([self.logged(step) for step in self.steps])
        if mode is None or np.isnan(values).all():
            return self.steps[-1]
        best = np.nanmax(values) if mode == "max" else np.nanmin(values)
        return self.steps[int(np.flatnonzero(values == best)[-1])]


def query_runs(run: RunFiles) -> list[QueryRuns]:
    """Return the inferencers of a run that tell how single queries went."""
    found = []
    for runner in run.evaluations:
        for name in run.table_names(runner):
            inferencer, _, table = name.rpartition("/")
            columns = run.table(runner, name) if table == "queries" else None
            metric = None if columns is None else main_metric(columns)
            if metric is not None and f"{inferencer}/neighbors" in run.table_names(runner):
                found.append(QueryRuns(run, runner, inferencer, metric))
    return found


def main_metric(columns: Columns) -> str | None:
    """Return the column that tells most of how well each row went; None if none is known to.

    Example:
        >>> ones = np.ones(2)
        >>> main_metric({"id": ones, "hit_rate@1": ones, "map@5": ones, "map@10": ones})
        'map@10'
    """
    names = [
        name
        for name, column in columns.items()
        if name not in NO_METRICS
        and column.ndim == 1
        and column.dtype.kind in "biuf"
        and better(name) is not None
    ]
    return min(names, key=telling, default=None)


def telling(metric: str) -> tuple[int, float]:
    """Return what sorts metrics by how much they tell of a single row, the most telling first."""
    own = metric.rpartition("/")[2]
    base, _, depth = own.partition("@")
    place = next((at for at, x in enumerate(_TELLING) if x in (own, base)), len(_TELLING))
    return place, -float(depth) if depth.isdecimal() else 0.0


def as_texts(labels: npt.NDArray[Any]) -> list[str]:
    """Return labels for people; those of several columns with slashes between."""
    rows: Iterable[Any] = labels.tolist()
    return [
        " / ".join(map(str, label)) if isinstance(label, list) else str(label) for label in rows
    ]


def _told(near: Columns) -> list[str]:
    """Return the label or the grade of each neighbour, in words."""
    if "label" in near:
        return [f"label {label}" for label in as_texts(near["label"])]
    if "grade" in near:
        return ["not judged" if x != x else f"grade {x:g}" for x in near["grade"].tolist()]
    return [""] * len(near["id"])
