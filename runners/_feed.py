"""From what people have as data to batches of named fields with ids."""

import hashlib
import itertools
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, final

from milepost.callbacks import Solo, World
from milepost.errors import CoverageError, missing_extra, unknown_name
from milepost.runners._batch import Batch, first_row, name_fields, row_ids, row_roles
from milepost.runners._py_dataset import py_dataset_source
from milepost.runners._source import (
    Batches,
    Columns,
    Loading,
    RawBatches,
    Source,
    check_batches,
    exhausted,
    has_items,
    is_array,
    is_columns,
)

Draws = Mapping[str, Any]
"""What the samplers of one rank drew, by role."""


@final
class Feed:
    """The declared data of a runner: one source a role.

    Args:
        data: one source, whose role is `query`, or a mapping role -> source. A source is a torch
            `Dataset`, `IterableDataset` or `DataLoader`, a `tf.data.Dataset`, a Keras `PyDataset`,
            a mapping of arrays, or any iterable of batches.
        fields: names for the elements of tuple batches.
        size: the number of samples that are declared, for the lone source or by role.
        loading: how samples are loaded.
    """

    def __init__(
        self,
        data: Any,
        *,
        fields: Sequence[str] | None,
        size: int | Mapping[str, int] | None,
        loading: Loading,
    ) -> None:
        self._by_role = isinstance(data, Mapping) and not is_columns(data)
        roles = data if self._by_role else {"query": data}
        if not roles:
            msg = "`data` must hold at least one role, got an empty mapping"
            raise ValueError(msg)
        sizes = size if isinstance(size, Mapping) else dict.fromkeys(roles, size)
        for role in sizes:
            if role not in roles:
                raise unknown_name("role", role, roles)
        self._fields = fields
        self._sources = {role: as_source(source, loading) for role, source in roles.items()}
        for role, source in self._sources.items():
            if source.is_endless and not sizes.get(role):
                msg = f"`size` must say how much of the endless source of role {role!r} is the set"
                raise ValueError(msg)
        self._sizes = sizes
        self._readings: dict[str, Any] = {}
        self._gave_rows: set[str] = set()

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles, in the order in which they are read."""
        return tuple(self._sources)

    @property
    def in_memory(self) -> bool:
        """Whether all batches lie ready in memory."""
        return all(source.in_memory for source in self._sources.values())

    @property
    def prefetches(self) -> bool:
        """Whether all batches are loaded ahead already, or lie ready in memory."""
        return all(source.prefetches or source.in_memory for source in self._sources.values())

    def declared(self) -> dict[str, int | None]:
        """Return how many samples each role declares; None where nothing says it.

        Raises:
            CoverageError: `size` and the source's own length disagree.
        """
        sizes = {role: self._sizes.get(role) for role in self._sources}
        for role, source in self._sources.items():
            if None not in (sizes[role], source.size) and sizes[role] != source.size:
                msg = (
                    f"`size` declares {sizes[role]} samples for role {role!r}, but its source "
                    f"holds {source.size}"
                )
                raise CoverageError(msg)
            sizes[role] = source.size if sizes[role] is None else sizes[role]
        return sizes

    def draw(self) -> Draws:
        """Return what this rank's samplers drew."""
        return {role: source.draw() for role, source in self._sources.items()}

    def open(self, world: World, draws: Sequence[Draws]) -> Generator[Batch, None, None]:
        """Start to read this rank's share, on the caller's thread; no collective runs.

        Args:
            world: says which share is this rank's.
            draws: what `draw` gave on each rank.
        """
        self._readings = {}
        opened = {
            role: source.open(world, [drawn[role] for drawn in draws])
            for role, source in self._sources.items()
        }
        return self._read(opened, self.declared(), world)

    def first_rows(self) -> Iterator[Batch]:
        """Give a few rows of each role whose source can be read again; on the caller's thread."""
        for role, source in self._sources.items():
            if not source.is_one_shot:
                opened = source.open(Solo(), [source.draw()])
                with closing(self._read_role(role, opened, self.declared()[role], Solo())) as read:
                    for batch in itertools.islice(read, 1):
                        yield from itertools.islice(batch.split(2), 1)

    def stop(self) -> None:
        """End what keeps a reader waiting; from another thread."""
        for source in self._sources.values():
            source.stop()

    def readings(self) -> Mapping[str, str]:
        """Return what this rank read of each role that all ranks are to read whole, digested."""
        return {role: reading.hexdigest() for role, reading in self._readings.items()}

    def check(self, seen: Mapping[str, int], readings: Sequence[Mapping[str, str]]) -> None:
        """Check what the ranks read in a run.

        Args:
            seen: how many samples of each role all ranks examined.
            readings: what `readings` gave on each rank.

        Raises:
            CoverageError: the ranks did not read the same.
            EvaluationError: a source gave rows in an earlier run, and none in this.
        """
        for role, source in self._sources.items():
            if len({reading.get(role) for reading in readings}) > 1:
                msg = (
                    f"the ranks did not read the same from the source of role {role!r}; one that "
                    "shards itself says `sharded = True` and gives a field `id`"
                )
                raise CoverageError(msg)
            if not seen[role] and role in self._gave_rows:
                raise exhausted(source)
            if seen[role]:
                self._gave_rows.add(role)

    def _read(
        self,
        opened: Mapping[str, RawBatches],
        declared: Mapping[str, int | None],
        world: World,
    ) -> Generator[Batch, None, None]:
        try:
            for role, raw_batches in opened.items():
                yield from self._read_role(role, raw_batches, declared[role], world)
        finally:
            for raw_batches in opened.values():
                raw_batches.close()

    def _read_role(
        self, role: str, raw_batches: RawBatches, declared: int | None, world: World
    ) -> Generator[Batch, None, None]:
        given = 0
        needs_ids, endless = self._sources[role].needs_ids, self._sources[role].is_endless
        with closing(raw_batches):
            for raw, positions, mine in raw_batches:
                fields, inputs = name_fields(raw, self._fields)
                self._check_fields(fields, needs_ids=needs_ids)
                if positions is None and not needs_ids and world.size > 1:
                    self._readings.setdefault(role, hashlib.sha256()).update(first_row(fields))
                ids = row_ids(fields, positions, given)
                batch = Batch(role, ids, fields, inputs, row_roles(fields, len(ids)))
                if endless and given + len(batch) > (declared or 0):
                    batch = next(batch.split((declared or 0) - given))
                given += len(batch)
                if mine:
                    yield batch
                if endless and given == declared:
                    return
                if declared is not None and given > declared:
                    msg = (
                        f"the source of role {role!r} declares {declared} samples, but gave "
                        f"{given} or more"
                    )
                    raise CoverageError(msg)

    def _check_fields(self, fields: Mapping[str, Any], *, needs_ids: bool) -> None:
        if needs_ids and "id" not in fields:
            msg = "a source that shards itself must give a field `id`"
            raise ValueError(msg)
        if self._by_role and "role" in fields:
            msg = (
                "a batch may not hold a field `role` where `data` is a mapping of roles to "
                "sources; pass one source whose rows say their role, or rename the field"
            )
            raise ValueError(msg)


def as_source(data: Any, loading: Loading) -> Source:
    """Return the source for one role's data.

    Raises:
        TypeError: nothing is known that reads such data, or it is a list of samples.
    """
    if is_columns(data):
        return Columns(data, loading)
    for find in _framework_sources(data):
        source = find(data, loading)
        if source is not None:
            return source
    if not isinstance(data, Iterable) or isinstance(data, str | bytes | Mapping) or is_array(data):
        msg = (
            "`data` must be a torch Dataset or DataLoader, a tf.data.Dataset, a Keras PyDataset, a "
            "mapping of arrays, an iterable of batches, or a mapping of roles to these, got "
            f"{type(data).__name__}"
        )
        raise TypeError(msg)
    check_batches(data)
    loading.forbid_batch_size()
    return Batches(data)


def _framework_sources(data: Any) -> Iterator[Callable[[Any, Loading], Source | None]]:
    """Give what knows the data of the frameworks that are loaded."""
    if "tensorflow" in sys.modules:
        from milepost.runners._tf_source import tf_source

        yield tf_source
    yield py_dataset_source
    if "torch" in sys.modules or has_items(data):
        try:
            from milepost.runners._torch_source import torch_source
        except ModuleNotFoundError as error:  # a loader of torch reads items
            raise missing_extra("torch", "torch") from error

        yield torch_source


def pinned(batches: Generator[Batch, None, None]) -> Generator[Batch, None, None]:
    """Give the batches with their tensors in page-locked memory, for a copy that overlaps."""
    with closing(batches):
        for batch in batches:
            fields = {name: _pinned(value) for name, value in batch.fields.items()}
            yield replace(batch, fields=fields)


def _pinned(value: Any) -> Any:
    """Return a tensor of the CPU in page-locked memory, and anything else as it is."""
    on_cpu = getattr(getattr(value, "device", None), "type", None) == "cpu"
    return value.pin_memory() if on_cpu and not value.is_sparse else value
