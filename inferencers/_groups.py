"""Groups: a query leaves out the gallery rows that are equal to it in some fields.

Q is the number of queries, U that of kinds: different combinations of a label and a group.
"""

from collections.abc import Sequence
from typing import final

import numpy as np

from milepost.inferencers._kind_table import KindTable, codes_of, joined_columns
from milepost.inferencers._label_table import Ints, Labels
from milepost.inferencers._relevance import Relevance

_LISTED = 1 << 20  # pairs of a query and a kind that are compared at once


@final
class Groups:
    """The groups of a run, which are given as codes.

    Memory: 40 U bytes, and 64 MiB or so while relevant rows are counted.

    Args:
        kinds: the labels of the run, with the fields that make groups.
        labels: int64 (U,), the codes of the kinds' labels.
    """

    def __init__(self, kinds: KindTable, labels: Ints) -> None:
        self._fields = kinds.columns[1:]
        codes = codes_of(self._fields)
        (gallery,) = np.nonzero(kinds.counts[:, 1])
        gallery = gallery[np.argsort(codes[gallery], kind="stable")]
        self._groups = codes[gallery]
        self._labels, self._counts = labels[gallery], kinds.counts[gallery, 1]
        self._ends = np.concatenate([[0], np.cumsum(self._counts)])

    def codes(self, columns: Sequence[Labels]) -> Ints:
        """Return the codes of rows' groups, all of which the run has."""
        if not len(columns[0]):
            return np.zeros(0, np.int64)
        return codes_of(joined_columns([self._fields, columns]))[len(self._fields[0]) :]

    def sizes(self, groups: Ints) -> Ints:
        """Return how many gallery rows are in each of the groups, (Q,)."""
        starts, stops = self._spans(groups)
        return np.asarray(self._ends[stops] - self._ends[starts])

    def counts(self, groups: Ints, relevance: Relevance) -> Ints:
        """Return how many gallery rows of each group bear each label of a level, (P, U)."""
        counts = np.zeros((len(groups), len(relevance.labels)), np.int64)
        rows, listed = self._listed(groups)
        np.add.at(counts, (rows, relevance.codes(self._labels[listed])), self._counts[listed])
        return counts

    def relevant(self, relevance: Relevance, queries: Ints, groups: Ints) -> Ints:
        """Return how many gallery rows of a query's group are relevant to it, (Q,).

        Args:
            relevance: which labels are relevant.
            queries: int64 (Q,), label codes.
            groups: int64 (Q,), group codes.
        """
        if relevance.is_equality:
            return self._equal(relevance.codes(queries), relevance.codes(self._labels), groups)
        kinds = codes_of((queries, groups))
        _, first = np.unique(kinds, return_index=True)
        starts, stops = self._spans(groups[first])
        totals, ends = np.zeros(len(first), np.int64), np.cumsum(stops - starts)
        at = 0
        while at < len(first):
            done = ends[at - 1] if at else 0
            stop = max(at + 1, int(np.searchsorted(ends, done + _LISTED, side="right")))
            some = first[at:stop]
            rows, listed = self._listed(groups[some])
            pairs = queries[some[rows]], self._labels[listed, None]
            found = relevance.of_neighbors(*pairs)[:, 0]
            np.add.at(totals[at:stop], rows[found], self._counts[listed[found]])
            at = stop
        return np.asarray(totals[kinds])

    def _equal(self, queries: Ints, labels: Ints, groups: Ints) -> Ints:
        """Return how many gallery rows of a query's group bear its label, (Q,)."""
        own = np.concatenate([self._groups, groups]), np.concatenate([labels, queries])
        kinds = codes_of(own)
        totals = np.zeros(len(kinds), np.int64)
        np.add.at(totals, kinds[: len(labels)], self._counts)
        return np.asarray(totals[kinds[len(labels) :]])

    def _spans(self, groups: Ints) -> tuple[Ints, Ints]:
        """Return where the kinds of each group start and stop."""
        starts, stops = (
            np.searchsorted(self._groups, groups, side=side) for side in ("left", "right")
        )
        return starts, stops

    def _listed(self, groups: Ints) -> tuple[Ints, Ints]:
        """Return each kind of each group: the position of the group, and that of the kind."""
        starts, stops = self._spans(groups)
        rows = np.repeat(np.arange(len(groups)), stops - starts)
        ends = np.cumsum(stops - starts)
        return rows, np.arange(len(rows)) - (ends - stops)[rows]
