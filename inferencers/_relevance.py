"""Which gallery labels are relevant to which query labels.

U is the number of different labels of a run, Q that of some queries, G and K those of rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._label_table import LabelTable

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
RelevantLabels: TypeAlias = Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[np.bool_]]

_PAIRS = 1 << 24  # label pairs that are compared at once


@dataclass(frozen=True)
class RelevantPairs:
    """The pairs of queries and gallery rows of equal labels, not listed yet.

    Attributes:
        order: int64 (G,), the gallery rows sorted by label.
        starts: int64 (Q,), where in it the rows of a query's label start.
        counts: int64 (Q,), how many they are.
    """

    order: Ints
    starts: Ints
    counts: Ints

    @property
    def number(self) -> int:
        """The number of pairs."""
        return int(self.counts.sum())

    def listed(self) -> tuple[Ints, Ints]:
        """Return the query and the gallery row of each pair, in order of queries, int64 (P,)."""
        rows = np.repeat(np.arange(len(self.counts)), self.counts)
        ends = np.cumsum(self.counts)
        within = np.arange(self.number) - (ends - self.counts)[rows]
        return rows, self.order[self.starts[rows] + within]


@final
class Relevance:
    """Relevance of labels, which are given as codes: their positions in the table.

    Memory: blocks of 2^24 pairs of labels, or of one query label with all gallery labels.

    Args:
        table: the labels of the run.
        relevant: gives bool (Q, G) for query labels (Q, 1) and gallery labels (1, G), each with a
            last axis more where labels are rows; None: equal labels are relevant.
    """

    def __init__(self, table: LabelTable, relevant: RelevantLabels | None) -> None:
        self._table = table
        self._relevant = relevant

    def totals(self) -> Ints:
        """Return how many gallery rows are relevant to each label of queries, (U,)."""
        if self._relevant is None:
            return self._table.counts[:, 1]
        totals = np.zeros(len(self._table.labels), np.int64)
        (codes,) = np.nonzero(self._table.counts[:, 0])
        for part in self._spans(codes):
            totals[codes[part]] = self._compare(codes[part]) @ self._table.counts[:, 1]
        return totals

    def of_neighbors(self, queries: Ints, neighbors: Ints) -> Bools:
        """Return which neighbours (Q, K) are relevant to queries (Q,); a neighbour -1 is not."""
        if self._relevant is None:
            return np.asarray(neighbors == queries[:, None])
        result = np.zeros(neighbors.shape, np.bool_)
        for part in self._spans(queries):
            codes, inverse = np.unique(queries[part], return_inverse=True)
            result[part] = self._compare(codes)[inverse[:, None], neighbors[part]]
        return result & (neighbors >= 0)

    def of_gallery(self, queries: Ints, gallery: Ints) -> Bools:
        """Return which gallery rows (G,) are relevant to which queries (Q,), (Q, G)."""
        if self._relevant is None:
            return np.asarray(queries[:, None] == gallery[None, :])
        codes, inverse = np.unique(queries, return_inverse=True)
        return self._compare(codes)[inverse][:, gallery]

    def pairs(self, queries: Ints, gallery: Ints) -> RelevantPairs | None:
        """Return the relevant pairs of queries (Q,) and gallery rows (G,) of equal labels.

        Nothing if relevance is not that of equal labels.
        """
        if self._relevant is not None:
            return None
        order = np.argsort(gallery, kind="stable")
        ranked = gallery[order]
        starts = np.searchsorted(ranked, queries, side="left")
        return RelevantPairs(order, starts, np.searchsorted(ranked, queries, side="right") - starts)

    def _spans(self, codes: Ints) -> Iterator[slice]:
        step = max(1, _PAIRS // max(1, len(self._table.labels)))
        for start in range(0, len(codes), step):
            yield slice(start, start + step)

    def _compare(self, codes: Ints) -> Bools:
        """Return which labels of gallery rows are relevant to query labels, (Q, U)."""
        assert self._relevant is not None
        labels = self._table.labels
        (gallery,) = np.nonzero(self._table.counts[:, 1])
        found = np.asarray(self._relevant(labels[codes][:, None], labels[gallery][None, :]))
        if found.dtype != np.bool_ or found.shape != (len(codes), len(gallery)):
            msg = (
                f"`relevant` must return bool of shape {(len(codes), len(gallery))} by "
                f"broadcasting, got {found.dtype} of shape {found.shape}"
            )
            raise ValueError(msg)
        result = np.zeros((len(codes), len(labels)), np.bool_)
        result[:, gallery] = found
        return result
