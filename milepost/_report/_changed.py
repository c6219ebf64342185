"""The queries that changed most between two evaluations."""

from typing import Any, NamedTuple

import numpy as np

from milepost._report._items import Items, items_of
from milepost._report._page import fill
from milepost._report._query_tables import QueryRuns, QueryTables, query_runs
from milepost._report._run_files import Evaluation, RunFiles
from milepost._report._section import Section
from milepost._report._worst import Card, card, shown_ids
from milepost.callbacks import better

_MOST = 3  # queries each way


class Pair(NamedTuple):
    """One query in two evaluations.

    Attributes:
        before: in the first.
        after: in the second.
        is_better: whether it went better in the second.
    """

    before: Card
    after: Card
    is_better: bool


class Comparison(NamedTuple):
    """Two evaluations of the same queries.

    Attributes:
        before: the first.
        after: the second.
        why: what tells them from others, such as `"the first and the last"`.
        counts: how many queries went better, worse and as well.
        pairs: those that changed most, the ones that went better first.
        items: what they look like.
    """

    before: Evaluation
    after: Evaluation
    why: str
    counts: tuple[int, int, int]
    pairs: list[Pair]
    items: Items


def changed_queries(run: RunFiles) -> Section | None:
    """Return the queries that changed most, of each inferencer that ranks."""
    lists = []
    for runs in query_runs(run):
        found = [_compared(run, runs, *steps) for steps in _steps(runs)]
        comparisons = [comparison for comparison in found if comparison is not None]
        if comparisons:
            lists.append({"runs": runs, "comparisons": comparisons})
    if not lists:
        return None
    return Section("most-changed", "Most changed queries", fill("changed.html", lists=lists))


def _steps(runs: QueryRuns) -> list[tuple[int, int, str]]:
    """Return which evaluations are compared, and why."""
    if len(runs.steps) < 2:
        return []
    first, best, last = runs.steps[0], runs.best_step, runs.steps[-1]
    if best == last:
        return [(first, last, "the first and the last, which is the best")]
    pairs = [(first, last, "the first and the last"), (best, last, "the best and the last")]
    return pairs[: 1 if best == first else 2]


def _compared(
    run: RunFiles, runs: QueryRuns, first: int, second: int, why: str
) -> Comparison | None:
    tables = runs.read(first), runs.read(second)
    before, after = tables
    if before is None or after is None:
        return None
    _, rows, others = np.intersect1d(before.ids, after.ids, return_indices=True)
    sign = -1.0 if better(runs.metric) == "min" else 1.0
    gains = np.nan_to_num(sign * (after.values[others] - before.values[rows]))
    order = np.argsort(-gains, kind="stable").tolist()  # of equal ones by id
    up = [at for at in order[:_MOST] if gains[at] > 0]
    down = [at for at in np.argsort(gains, kind="stable")[:_MOST].tolist() if gains[at] < 0]
    chosen = [(int(rows[at]), int(others[at])) for at in (*up, *down)]
    items = items_of(run, runs.runner, _ids(before, after, chosen))
    pairs = [
        Pair(card(before, row, items), card(after, other, items), at < len(up))
        for at, (row, other) in enumerate(chosen)
    ]
    signs = np.sign(gains)
    up_count, down_count, same = (int((signs == each).sum()) for each in (1, -1, 0))
    counts = up_count, down_count, same
    evaluations = runs.evaluations[first], runs.evaluations[second]
    return Comparison(*evaluations, why, counts, pairs, items)


def _ids(before: QueryTables, after: QueryTables, chosen: list[tuple[int, int]]) -> list[Any]:
    ids = []
    for row, other in chosen:
        ids += [*shown_ids(before, [row]), *shown_ids(after, [other])]
    return ids
