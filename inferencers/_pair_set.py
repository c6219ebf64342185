"""The pairs that one worker's rows make with those of all workers, and which of them count."""

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._inferencer import Rows, State
from milepost.inferencers._label_table import Ints, LabelTable
from milepost.inferencers._pair_rows import ROLES, PairRows, RoleRows, beside, positions_of
from milepost.neighbors import Array, Distance, Limits, backend_of, longest_row

_CODE = "label_code"


class Compared(NamedTuple):
    """One worker's queries beside rows of one worker.

    Attributes:
        queries: float32 (Q, d).
        gallery: float32 (G, d).
        labels: int64 (Q,) and (G,), label codes.
        ids: of the gallery, shape (G,).
        limits: which pairs count, and the memory budget.
    """

    queries: Array
    gallery: Array
    labels: tuple[Ints, Ints]
    ids: npt.NDArray[Any]
    limits: Limits

    def beside(self, some: npt.NDArray[np.bool_]) -> "Compared":
        """Return the queries beside some of the rows."""
        (at,) = np.nonzero(some)
        gallery = self.gallery[backend_of(self.gallery).array(at, like=self.gallery)]
        labels, exclude = (self.labels[0], self.labels[1][at]), self.limits.exclude
        if exclude is not None:
            kept = np.append(np.where(some, np.cumsum(some) - 1, -1), -1)  # the last is for -1
            exclude = kept[exclude]
        limits = self.limits._replace(exclude=exclude)
        return self._replace(gallery=gallery, labels=labels, ids=self.ids[at], limits=limits)


@final
class PairSet:
    """All unordered pairs of the queries or, where there is a gallery, of a query and a row of it.

    Args:
        embeddings: the field that holds embeddings.
        labels: the field that holds labels.
        columns: fields that are collected besides.
        distance: what will be compared.
    """

    def __init__(
        self, embeddings: str, labels: str, columns: Sequence[str], distance: Distance
    ) -> None:
        self._embeddings, self.distance = embeddings, distance
        self._collected = PairRows(embeddings, labels, columns)
        self._others: list[LabelTable] = []  # those of other workers
        self._longest = 0.0  # of the rows of other workers
        self._table: LabelTable | None = None

    def add(self, rows: Rows, max_memory_bytes: int | None) -> None:
        """Take one batch."""
        self._collected.add(rows, max_memory_bytes)
        self._table = None

    def state(self) -> State:
        """Return what other workers must know of the rows."""
        table = LabelTable.sum([self._collected.table(), *self._others])
        longest = max(self._longest, self._own_longest())
        return {"labels": table.labels, "counts": table.counts, "longest": np.array(longest)}

    def merge(self, states: Sequence[State]) -> None:
        """Take in what other workers have."""
        self._others += [LabelTable(state["labels"], state["counts"]) for state in states]
        self._longest = max([self._longest, *(float(state["longest"]) for state in states)])
        self._table = None

    @property
    def is_empty(self) -> bool:
        """Whether no worker has a query."""
        return not self._labels().counts[:, 0].any()

    @property
    def is_within(self) -> bool:
        """Whether pairs are those of the queries themselves."""
        self._labels()
        return self._gallery == "query"

    @property
    def queries(self) -> RoleRows:
        """This worker's queries, sorted by id."""
        return self._collected.of("query")

    def longest(self) -> float:
        """Return the length of the longest row of all workers, where scores depend on it."""
        return max(self._longest, self._own_longest())

    def rows(self) -> Rows:
        """Return this worker's rows that queries are compared with."""
        table = self._labels()
        rows = self._collected.of(self._gallery)
        return {
            "id": rows.ids,
            "role": np.full(len(rows.ids), self._gallery),
            self._embeddings: rows.embeddings,
            _CODE: table.codes(rows.labels),
        }

    def compared(
        self, part: Rows, *, shared_ids: bool, max_memory_bytes: int | None, in_turn: bool = False
    ) -> Compared | None:
        """Return this worker's queries beside rows of one worker, if there are any of both.

        Args:
            part: rows as `rows` gives them.
            shared_ids: whether a query and a gallery row with the same id are the same item.
            max_memory_bytes: the budget.
            in_turn: whether a pair of queries counts for both of them, each in turn being the
                query; else it counts for the one whose id is smaller.
        """
        self._labels()
        own, ids = self._collected.of("query"), part["id"]
        if not len(own.ids) or not len(ids):
            return None
        once = self.is_within and not in_turn
        copies = in_turn if self.is_within else shared_ids
        return Compared(
            own.embeddings,
            beside(part[self._embeddings], own.embeddings),
            (self._codes, part[_CODE]),
            ids,
            Limits(
                np.searchsorted(ids, own.ids, side="right") if once else None,
                positions_of(own.ids, ids) if copies else None,
                max_memory_bytes,
            ),
        )

    def _labels(self) -> LabelTable:
        """Return the labels of the run, known when totals are merged."""
        if self._table is None:
            self._table = LabelTable.sum([self._collected.table(), *self._others])
            self._gallery = "gallery" if self._table.counts[:, 1].any() else "query"
            self._codes = self._table.codes(self._collected.of("query").labels)
        return self._table

    def _own_longest(self) -> float:
        if self.distance == "cosine":
            return 1.0
        return max(longest_row(self._collected.of(role).embeddings) for role in ROLES)
