"""The rows that a pair inferencer collects on one worker: embeddings with labels and ids."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, final, get_args

import numpy as np
import numpy.typing as npt

from milepost.errors import NonFiniteError, unknown_name
from milepost.inferencers._inferencer import Rows
from milepost.inferencers._label_table import Labels, LabelTable, as_labels, check_alike
from milepost.inferencers._mapped import changed, joined, largest, mapped
from milepost.neighbors import Array, backend_of, memory_budget

ROLES = ("query", "gallery")
Storage: TypeAlias = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class RoleRows:
    """The rows of one role, sorted by id.

    Attributes:
        ids: shape (N,), integers or strings.
        embeddings: (N, d), float32 or narrower, which `rows32` of their backend widens: tensors on
            an accelerator stay there, others are NumPy arrays.
        labels: shape (N,) or (N, C).
        columns: other values of a row, each of shape (N,) or (N, C).
    """

    ids: npt.NDArray[Any]
    embeddings: Array
    labels: Labels
    columns: tuple[Labels, ...] = ()

    def in_order(self, order: npt.NDArray[np.int64], embeddings: Array) -> "RoleRows":
        """Return the rows in an order, with their embeddings, which are in it already."""
        columns = tuple(column[order] for column in self.columns)
        return RoleRows(self.ids[order], embeddings, self.labels[order], columns)


@final
class PairRows:
    """Collects rows batch by batch, and gives them sorted by id.

    Memory: a copy of the embeddings, twice that while they are sorted; what exceeds half
    the budget goes to a memory-mapped file that vanishes with the rows.

    Args:
        embeddings: the field that holds embeddings.
        labels: the field that holds labels.
        columns: fields that hold other values of a row, of the types and shapes of labels.
        dtype: what embeddings are rounded to.
    """

    def __init__(
        self,
        embeddings: str,
        labels: str,
        columns: Sequence[str] = (),
        dtype: Storage = "float32",
    ) -> None:
        self._fields = embeddings, labels, *columns
        self._dtype = dtype
        self._batches: dict[str, list[RoleRows]] = {role: [] for role in ROLES}
        self._bytes = 0  # in memory
        self._budget: int | None = None

    def add(self, rows: Rows, max_memory_bytes: int | None = None) -> None:
        """Take one batch.

        Args:
            rows: ids, roles, embeddings and labels.
            max_memory_bytes: the budget, which the first batch sets; None: a quarter of what is
                available.

        Raises:
            NonFiniteError: an embedding is NaN or infinite in float32.
            ValueError: embeddings are not a matrix, or labels are not as many or of another type.
        """
        batch_rows, role_of = self._arrays(rows), np.asarray(rows["role"])
        embeddings = batch_rows.embeddings
        for role in ROLES:
            (chosen,) = np.nonzero(role_of == role)
            if not len(chosen):
                continue
            batch = batch_rows.in_order(chosen, rows_at(embeddings, chosen))
            self._check(batch, role)
            self._batches[role].append(batch)
            if isinstance(batch.embeddings, np.ndarray):
                self._bytes += batch.embeddings.nbytes
        if self._budget is None:
            self._budget = memory_budget(max_memory_bytes, embeddings)
        if 4 * self._bytes > self._budget:  # sorting takes twice the memory
            self._spill()

    def of(self, role: str) -> RoleRows:
        """Return the rows of a role, sorted by id; none at all have d = 0."""
        batches = self._batches[role]
        if not batches:
            columns = (np.zeros(0),) * len(self._fields[2:])
            return RoleRows(
                np.zeros(0, np.int64), np.zeros((0, 0), np.float32), np.zeros(0), columns
            )
        if len(batches) > 1 or (batches[0].ids[1:] < batches[0].ids[:-1]).any():
            rows = _without_embeddings(batches)
            parts = [batch.embeddings for batch in batches]
            batches.clear()
            order = np.argsort(rows.ids, kind="stable")
            batches.append(rows.in_order(order, joined(parts, order)))
        return batches[0]

    def change(self, project: Callable[[Array], Array]) -> None:
        """Put what a function gives for blocks of rows in the place of the embeddings."""
        for role in ROLES:
            rows = self.of(role)
            if len(rows.ids):
                changed_rows = changed(rows.embeddings, project)
                self._batches[role] = [replace(rows, embeddings=changed_rows)]

    def extent(self) -> tuple[int, float]:
        """Return the dimension of the embeddings, and the largest magnitude of a number in them."""
        embeddings = [self.of(role).embeddings for role in ROLES]
        return max(rows.shape[1] for rows in embeddings), max(map(largest, embeddings))

    def table(self) -> LabelTable:
        """Return the labels of the rows collected."""
        return LabelTable.of(*(self.of(role).labels for role in ROLES))

    def _spill(self) -> None:
        """Move the embeddings that are NumPy arrays in memory to a file."""
        for batches in self._batches.values():
            kept = [batch for batch in batches if not _is_in_memory(batch)]
            moved = [batch for batch in batches if _is_in_memory(batch)]
            if moved:
                rows = _without_embeddings(moved)
                parts = [batch.embeddings for batch in moved]
                del batches[:], moved[:]
                batches += [*kept, replace(rows, embeddings=mapped(parts))]
        self._bytes = 0

    def _arrays(self, rows: Rows) -> RoleRows:
        """Return what is collected of a batch, of matching shapes."""
        embeddings = rows[self._fields[0]]
        embeddings = backend_of(embeddings).rows32(embeddings)
        if str(getattr(embeddings, "device", "cpu")) == "cpu":  # NumPy's kernels are quicker there
            embeddings = backend_of(embeddings).numpy(embeddings)
        if embeddings.ndim != 2 or embeddings.shape[1] == 0:
            msg = f"`{self._fields[0]}` must have shape (N, d), got {tuple(embeddings.shape)}"
            raise ValueError(msg)
        if self._dtype != "float32":
            embeddings = backend_of(embeddings).narrowed(embeddings, self._dtype)
        labels, *columns = (
            _column(rows[field], field, what, len(embeddings))
            for field, what in itertools.zip_longest(
                self._fields[1:], ("label",), fillvalue="value"
            )
        )
        return RoleRows(np.asarray(rows["id"]), embeddings, labels, tuple(columns))

    @property
    def _as_dtype(self) -> str:
        return "" if self._dtype == "float32" else f" as {self._dtype}"

    def _check(self, batch: RoleRows, role: str) -> None:
        backend = backend_of(batch.embeddings)
        bad = ~backend.numpy(backend.finite_rows(backend.rows32(batch.embeddings)))
        if bad.any():
            first = ", ".join(map(str, batch.ids[bad][:5].tolist()))
            msg = (
                f"`{self._fields[0]}` is NaN or infinite{self._as_dtype} in {bad.sum()} of "
                f"{len(bad)} rows of a batch; the first ids of role {role!r}: {first}"
            )
            raise NonFiniteError(msg)
        for other in (before for role in ROLES for before in self._batches[role][:1]):
            check_alike([other.labels, batch.labels])
            for field, *pair in zip(self._fields[2:], other.columns, batch.columns, strict=True):
                check_alike(pair, f"`{field}`")
            if other.embeddings.shape[1] != batch.embeddings.shape[1]:
                msg = (
                    f"`{self._fields[0]}` must have one dimension throughout a run, got "
                    f"{other.embeddings.shape[1]} and {batch.embeddings.shape[1]}"
                )
                raise ValueError(msg)


def check_storage(dtype: Storage) -> Storage:
    """Return the dtype; raise an error unless embeddings can be kept in it."""
    if dtype not in get_args(Storage):
        raise unknown_name("dtype", str(dtype), get_args(Storage))
    return dtype


def _column(values: Any, field: str, what: str, count: int) -> Labels:
    """Return the labels or other values of a batch's rows."""
    column = as_labels(backend_of(values).numpy(values), field)
    if len(column) != count:
        msg = (
            f"`{field}` must have one {what} for each of the {count} embeddings, got {len(column)}"
        )
        raise ValueError(msg)
    return column


def _without_embeddings(batches: Sequence[RoleRows]) -> RoleRows:
    """Return the ids, labels and columns of some batches, joined."""
    ids, labels, *columns = (
        np.concatenate(parts)
        for parts in zip(*((each.ids, each.labels, *each.columns) for each in batches), strict=True)
    )
    return RoleRows(ids, np.zeros((len(ids), 0), np.float32), labels, tuple(columns))


def _is_in_memory(batch: RoleRows) -> bool:
    rows = batch.embeddings
    return isinstance(rows, np.ndarray) and not isinstance(rows, np.memmap)


def rows_at(array: Array, positions: npt.NDArray[np.int64]) -> Array:
    """Return a copy of the rows at the positions, where the array is."""
    return array[backend_of(array).array(positions, like=array)]


def beside(part: Array, own: Array) -> Array:
    """Return rows of another worker where one's own are."""
    if backend_of(part) is not backend_of(own):
        part = backend_of(part).numpy(part)
    return backend_of(own).array(part, like=own)


def positions_of(ids: npt.NDArray[Any], part_ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return where each id is among sorted ids, -1 where it is not."""
    if not len(part_ids):
        return np.full(len(ids), -1)
    positions = np.searchsorted(part_ids, ids).clip(max=len(part_ids) - 1)
    return np.where(part_ids[positions] == ids, positions, -1)
