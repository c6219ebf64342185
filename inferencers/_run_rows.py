"""The rows of a run: this worker's own, and what is known of those of all workers."""

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np

from milepost.inferencers._compared_labels import Ints
from milepost.inferencers._groups import Groups
from milepost.inferencers._inferencer import Rows, State
from milepost.inferencers._kind_table import KindTable
from milepost.inferencers._label_table import Labels, LabelTable
from milepost.inferencers._objects import Objects
from milepost.inferencers._pair_rows import ROLES, PairRows, RoleRows
from milepost.inferencers._principal_axes import PrincipalAxes

EMBEDDINGS, CODE, GROUPS, OBJECTS = "embeddings", "label_codes", "groups", "objects"


@final
class RunRows:
    """Collects rows, and knows the labels, the groups and the principal axes of all workers'.

    Args:
        own: collects this worker's rows; its columns make groups.
        has_groups: whether queries leave out the gallery rows of their group.
        axes: the principal axes along which embeddings are taken; None: as they are.
        has_objects: whether the last column says which object a gallery row is of.
    """

    def __init__(
        self,
        own: PairRows,
        *,
        has_groups: bool,
        axes: PrincipalAxes | None,
        has_objects: bool = False,
    ) -> None:
        self._own, self._axes = own, axes
        self._has_groups, self._has_objects = has_groups, has_objects
        self._is_summing = False
        self._others: list[LabelTable] = []  # those of other workers
        self._other_kinds: list[dict[str, KindTable]] = []
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
        state["kinds"] = {name: (kinds.columns, kinds.counts) for name, kinds in self._kinds()}
        return state | (dict(self._axes.state(self._own.extent())) if self._axes else {})

    def merge(self, states: Sequence[State]) -> None:
        """Add what other workers know."""
        if self._axes:
            self._axes.merge(states)
        if not self._is_summing:
            self._others += [LabelTable(state["labels"], state["counts"]) for state in states]
            self._other_kinds += [
                {name: KindTable(*kinds) for name, kinds in state["kinds"].items()}
                for state in states
            ]
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
        return self._known().gallery_size

    @property
    def objects(self) -> Objects | None:
        """The objects of the gallery, where these rank."""
        return self._known().objects

    @property
    def table(self) -> LabelTable:
        """The labels of the run; where objects rank, with their number in place of rows'."""
        return self._known().table

    @property
    def codes(self) -> Ints:
        """The label codes of this worker's queries."""
        return self._known().codes

    @property
    def groups(self) -> tuple[Groups, Ints] | None:
        """The groups that queries leave out, and those that this worker's queries are in."""
        return self._known().groups

    @property
    def query_groups(self) -> tuple[Labels, ...]:
        """The fields that make the groups of this worker's queries."""
        return self._group_columns(self.queries) if self._has_groups else ()

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
        if self.groups:
            part[GROUPS] = self.groups[0].codes(self._group_columns(rows))
        if self.objects:
            part[OBJECTS] = self.objects.codes(rows.columns[-1])
        return part

    def _group_columns(self, rows: RoleRows) -> tuple[Labels, ...]:
        return rows.columns[:-1] if self._has_objects else rows.columns

    def _known(self) -> "_Settled":
        """Return what is known when totals are merged."""
        if self._settled is None:
            table = LabelTable.sum([self._own.table(), *self._others])
            gallery = "gallery" if table.counts[:, 1].any() else "query"
            if gallery == "query":
                table = LabelTable(table.labels, table.counts[:, [0, 0]])
            rows, size = self.queries, int(table.counts[:, 1].sum())
            kinds = {name: each.with_gallery(gallery) for name, each in self._kinds()}
            groups = objects = None
            if self._has_groups and len(table.labels):
                whole = Groups(kinds["groups"], table.codes(kinds["groups"].columns[0]))
                groups = whole, whole.codes(self._group_columns(rows))
            codes = table.codes(rows.labels)
            if self._has_objects:
                objects = Objects(kinds["objects"], table)
                table = objects.table(table)
            self._settled = _Settled(table, gallery, size, codes, groups, objects)
        return self._settled

    def _kinds(self) -> list[tuple[str, KindTable]]:
        """Return the labels with groups, and objects with labels, of all workers' rows."""
        rows = [self._own.of(role) for role in ROLES]
        columns = {
            "groups": [(each.labels, *self._group_columns(each)) for each in rows],
            "objects": [(*each.columns[-1:], each.labels) for each in rows],
        }
        wanted = {"groups": self._has_groups, "objects": self._has_objects}
        return [
            (name, KindTable.sum([KindTable.of(*own), *(x[name] for x in self._other_kinds)]))
            for name, own in columns.items()
            if wanted[name]
        ]


class _Settled(NamedTuple):
    """What is known when totals are merged; `RunRows` says what it is."""

    table: LabelTable
    gallery: str
    gallery_size: int
    codes: Ints
    groups: tuple[Groups, Ints] | None
    objects: Objects | None
