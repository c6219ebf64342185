"""The totals of a run, over its rounds and at each level of labels."""

from collections.abc import Sequence
from itertools import pairwise
from typing import final

import numpy as np

from milepost.inferencers._compared_labels import Ints
from milepost.inferencers._inferencer import State
from milepost.inferencers._levels import Level
from milepost.inferencers._query_totals import QueryTotals
from milepost.inferencers._query_values import Finding, QueryValues


@final
class RunTotals:
    """Adds up what queries give, in classes: those of all levels, one level after the other.

    Args:
        levels: of the labels.
        codes: int64 (Q,), the label codes of this worker's queries.
        metrics: how many metrics there are.
        by_class: whether each label is a class, or all queries are one.
    """

    def __init__(
        self, levels: Sequence[Level], codes: Ints, metrics: int, *, by_class: bool
    ) -> None:
        sizes = [len(level.relevance.labels) if by_class else 1 for level in levels]
        self._ends = [0, *np.cumsum(sizes).tolist()]
        self._class_of = [
            start + (level.relevance.codes(codes) if by_class else np.zeros_like(codes))
            for start, level in zip(self._ends, levels, strict=False)
        ]
        self._done = self._round = QueryTotals.zero(self._ends[-1], metrics)

    def start_round(self) -> None:
        """Keep the totals of the rounds before, which are merged."""
        self._done = QueryTotals.sum([self._done, self._round])
        self._round = QueryTotals.zero(*self._done.sums.shape[:2])

    def add(self, levels: Sequence[QueryValues], found: Sequence[Finding]) -> None:
        """Add what a pass found, at each level."""
        for level, classes, each in zip(levels, self._class_of, found, strict=True):
            self._round.add_values(classes[each.queries], each.values)
            has_relevant = level.has_relevant[each.judged].astype(np.int64)
            self._round.add_queries(classes[each.judged], has_relevant)

    def state(self) -> State:
        """Return the totals of this round."""
        return self._round._asdict()

    def merge(self, states: Sequence[State]) -> None:
        """Add the totals of this round of other workers."""
        self._round = QueryTotals.sum([self._round, *(QueryTotals(**state) for state in states)])

    def of_levels(self) -> list[QueryTotals]:
        """Return the totals of all rounds, of the classes of each level."""
        totals = QueryTotals.sum([self._done, self._round])
        return [totals.of(slice(*ends)) for ends in pairwise(self._ends)]
