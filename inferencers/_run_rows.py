"""The rows of a run: this worker's own, and what is known of those of all workers."""

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np

from milepost.inferencers._compared_labels import Ints
from milepost.inferencers._groups import Groups
from milepost.inferencers._inferencer import Rows, State
from milepost.inferencers._kind_table import KindTable
from milepost.inferencers._label_table import LabelTable
from milepost.inferencers._pair_rows import ROLES, PairRows, RoleRows
from milepost.inferencers._principal_axes import PrincipalAxes

EMBEDDINGS, CODE, GROUP = "embeddings", "label_code", "group_code"


@final
class RunRows:
    """Collects rows, and knows the labels, the groups and the principal axes of all workers'.

    Args:
        own: collects this worker's rows; its columns make groups.
        has_groups: whether queries leave out the gallery rows of their group.
        axes: the principal axes along which embeddings are taken; None: as they are.
    """

    def __init__(self, own: PairRows, *, has_groups: bool, axes: PrincipalAxes | None) -> None:
        self._own, self._has_groups, self._axes = own, has_groups, axes
        self._is_summing = False
        self._others: list[LabelTable] = []  # those of other workers
        self._other_kinds: list[KindTable] = []
        self._settled: _Settled | None = None

    def add(self, rows: Rows, max_memory_bytes: int | None) -> None:
        """Take one batch of this worker's rows."""
        self._own.add(rows, max_memory_bytes)
        self._settled = None

    def state(self) -> State:
        """Return what is known of the rows."""
        if self._axes and self._is_summing:
            return self._axes.state((0, 0.0))
        table = LabelTable.sum([self._own.table(), *self._others])
        state: dict[str, Any] = {"labels": table.labels, "counts": table.counts}
        if self._has_groups:
            kinds = self._kinds()
            state |= {"kinds": kinds.columns, "kind_counts": kinds.counts}
        return state | (dict(self._axes.state(self._own.extent())) if self._axes else {})

    def merge(self, states: Sequence[State]) -> None:
        """Add what other workers know."""
        if self._axes:
            self._axes.merge(states)
        if not self._is_summing:
            self._others += [LabelTable(state["labels"], state["counts"]) for state in states]
            if self._has_groups:
                tables = (KindTable(state["kinds"], state["kind_counts"]) for state in states)
                self._other_kinds += tables
        self._settled = None

    @property
    def rounds(self) -> int:
        """How many passes the axes take."""
        return int(self._axes is not None)

    @property
    def needs_axes(self) -> bool:
        """Whether the axes are not known yet."""
        return self._axes is not None and not self._axes.is_fitted

    def add_up(self) -> None:
        """Add up this worker's gallery rows, for the axes."""
        assert self._axes is not None
        rows = self._own.of(self.gallery).embeddings
        self._axes.add(rows, self.gallery_size, self._own.extent())
        self._is_summing = True

    def reduce(self) -> None:
        """Take the embeddings along the axes, when sums are merged."""
        assert self._axes is not None
        self._axes.fit()
        self._own.change(self._axes.project)

    @property
    def queries(self) -> RoleRows:
        """This worker's queries."""
        return self._own.of("query")

    @property
    def gallery_rows(self) -> RoleRows:
        """This worker's gallery rows."""
        return self._own.of(self.gallery)

    @property
    def gallery(self) -> str:
        """The role of gallery rows: that of queries where no row has it."""
        return self._known().gallery

    @property
    def gallery_size(self) -> int:
        """The number of gallery rows of all workers."""
        return int(self.table.counts[:, 1].sum())

    @property
    def table(self) -> LabelTable:
        """The labels of the run."""
        return self._known().table

    @property
    def codes(self) -> Ints:
        """The label codes of this worker's queries."""
        return self._known().codes

    @property
    def groups(self) -> tuple[Groups, Ints] | None:
        """The groups that queries leave out, and those that this worker's queries are in."""
        return self._known().groups

    def part(self) -> Rows:
        """Return this worker's gallery rows as they are handed to all workers to be searched."""
        if self.needs_axes:
            return {"id": np.zeros(0, np.int64), "role": np.zeros(0, np.str_)}
        rows = self.gallery_rows
        part = {
            "id": rows.ids,
            "role": np.full(len(rows.ids), self.gallery),
            EMBEDDINGS: rows.embeddings,
            CODE: self.table.codes(rows.labels),
        }
        return part | ({GROUP: self.groups[0].codes(rows.columns)} if self.groups else {})

    def _known(self) -> "_Settled":
        """Return what is known when totals are merged."""
        if self._settled is None:
            table = LabelTable.sum([self._own.table(), *self._others])
            gallery = "gallery" if table.counts[:, 1].any() else "query"
            if gallery == "query":
                table = LabelTable(table.labels, table.counts[:, [0, 0]])
            rows, groups = self.queries, None
            if self._has_groups and len(table.labels):
                kinds = self._kinds()
                if gallery == "query":
                    kinds = KindTable(kinds.columns, kinds.counts[:, [0, 0]])
                whole = Groups(kinds, table.codes(kinds.columns[0]))
                groups = whole, whole.codes(rows.columns)
            self._settled = _Settled(table, gallery, table.codes(rows.labels), groups)
        return self._settled

    def _kinds(self) -> KindTable:
        """Return the labels with their groups, of all workers whose totals are merged."""
        rows = (self._own.of(role) for role in ROLES)
        own = KindTable.of(*((each.labels, *each.columns) for each in rows))
        return KindTable.sum([own, *self._other_kinds])


class _Settled(NamedTuple):
    """What is known when totals are merged; `RunRows` says what it is."""

    table: LabelTable
    gallery: str
    codes: Ints
    groups: tuple[Groups, Ints] | None
