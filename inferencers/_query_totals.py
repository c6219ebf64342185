"""Sums of per-query values that are the same in any order.

C is the number of classes, M that of metrics, Q that of queries.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from milepost.inferencers._compared_labels import Floats, Ints

_HALF = 2.0**26  # values are summed as two whole numbers of 26 bits: the same in any order


class QueryTotals(NamedTuple):
    """Sums over the queries of each class.

    Attributes:
        sums: int64 (C, M, 2), of the metrics, in units of 2^-26 and, for the rest, of 2^-52.
        queries: int64 (C, 2), how many have no relevant item, and how many have.
    """

    sums: Ints
    queries: Ints

    @classmethod
    def zero(cls, classes: int, metrics: int) -> "QueryTotals":
        """Return the totals of no query."""
        return cls(np.zeros((classes, metrics, 2), np.int64), np.zeros((classes, 2), np.int64))

    @classmethod
    def sum(cls, totals: Sequence["QueryTotals"]) -> "QueryTotals":
        """Return the totals of all."""
        return cls(*(np.sum(parts, axis=0) for parts in zip(*totals, strict=True)))

    def add_values(self, classes: Ints, values: Floats) -> None:
        """Add values of queries (Q, M), each to the sums of its class (Q,)."""
        scaled = values * _HALF
        upper = np.floor(scaled)
        halves = np.stack([upper, np.rint((scaled - upper) * _HALF)], axis=-1).astype(np.int64)
        np.add.at(self.sums, classes, halves)

    def add_queries(self, classes: Ints, has_relevant: Ints) -> None:
        """Count queries (Q,), with 0 or 1 for whether they have a relevant item."""
        np.add.at(self.queries, (classes, has_relevant), 1)

    def of(self, classes: slice) -> "QueryTotals":
        """Return the totals of some classes."""
        return QueryTotals(self.sums[classes], self.queries[classes])

    def together(self) -> "QueryTotals":
        """Return the totals of all classes as if they were one."""
        return QueryTotals(*(total.sum(axis=0, keepdims=True) for total in self))

    def means(self) -> Floats:
        """Return the means of each class, (C, M); NaN where no query has a relevant item."""
        totals = (self.sums / (_HALF, _HALF * _HALF)).sum(axis=-1)
        counts = self.queries[:, 1:]
        means = np.full(totals.shape, np.nan)
        np.divide(totals, counts, out=means, where=counts > 0)
        return means

    def mean(self) -> Floats:
        """Return the means over those classes that have one, (M,); NaN if none has."""
        means = self.means()[self.queries[:, 1] > 0]
        return means.mean(axis=0) if len(means) else np.full(means.shape[1], np.nan)
