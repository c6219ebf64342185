"""Where rows come from: each kind of data behind one interface."""

import abc
import reprlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np

from milepost.callbacks import World
from milepost.errors import CoverageError, EvaluationError
from milepost.runners._batch import as_rows, count_rows


class RawBatch(NamedTuple):
    """A batch as the source gave it.

    `positions` says where its rows stand in the source; None where only reading on tells.
    `mine` is False for a batch that another rank examines: it is counted, not forwarded.
    """

    raw: Any
    positions: np.ndarray[Any, Any] | None = None
    mine: bool = True


@dataclass(frozen=True)
class Loading:
    """How samples are loaded.

    Attributes:
        batch_size: rows a batch; None takes the loader's own, or 64.
        num_workers: worker processes of a torch loader; 0 takes the loader's own.
        timeout_s: how long a worker may take for a batch; None waits for ever.
    """

    batch_size: int | None = None
    num_workers: int = 0
    timeout_s: float | None = None

    def rows_a_batch(self, own: int | None) -> int:
        """Return how many rows a batch has, given the loader's own size."""
        return self.batch_size or own or 64

    def forbid_batch_size(self) -> None:
        """Raise if a batch size is asked for of a source that makes the batches itself."""
        if self.batch_size is not None:
            msg = f"`batch_size` cannot be {self.batch_size}: the source makes the batches itself"
            raise ValueError(msg)


RawBatches = Generator[RawBatch, None, None]


class Source(abc.ABC):
    """One declared set of samples, read afresh at each run."""

    @property
    @abc.abstractmethod
    def size(self) -> int | None:
        """How many samples the set declares; None if it does not say."""

    @property
    def needs_ids(self) -> bool:
        """Whether only a field `"id"` can tell its rows apart."""
        return False

    @property
    def in_memory(self) -> bool:
        """Whether its batches lie ready in memory, so that to load them ahead gains nothing."""
        return False

    @property
    def is_endless(self) -> bool:
        """Whether it never ends: the first samples of it, as many as are declared, are the set."""
        return False

    @property
    def prefetches(self) -> bool:
        """Whether it loads ahead by itself."""
        return False

    @property
    def is_one_shot(self) -> bool:
        """Whether what is read of it is gone."""
        return False

    def draw(self) -> Any:
        """Return what this rank's sampler drew, for `open` to compare; None if it takes all."""
        return None

    @abc.abstractmethod
    def open(self, world: World, draws: Sequence[Any]) -> RawBatches:
        """Start to read this rank's share of the set.

        Worker processes start here, on the caller's thread; the generator may then be read, and
        closed, on another one. No collective runs.

        Args:
            world: says which share is this rank's.
            draws: what `draw` gave on each rank.
        """

    def stop(self) -> None:  # noqa: B027 - most keep nobody waiting
        """End what keeps a reader waiting, so that its thread can end; from another thread."""


def shard(count: int, world: World) -> slice:
    """Return this rank's share of `count` things: contiguous, unpadded, sizes at most 1 apart."""
    return slice(count * world.rank // world.size, count * (world.rank + 1) // world.size)


@final
class Columns(Source):
    """A mapping of arrays that share their first axis."""

    def __init__(self, arrays: Mapping[str, Any], loading: Loading) -> None:
        self._arrays = {
            name: as_rows(value) if isinstance(value, list | tuple) else value
            for name, value in arrays.items()
        }
        self._size = count_rows(self._arrays)
        self._rows_a_batch = loading.rows_a_batch(None)

    @property
    def size(self) -> int:
        return self._size

    @property
    def in_memory(self) -> bool:
        """False where only an index reads the values: those of an array in a file."""
        return all(
            hasattr(value, "__dlpack__") and not isinstance(value, np.memmap)
            for value in self._arrays.values()
        )

    def open(self, world: World, draws: Sequence[Any]) -> RawBatches:
        mine = shard(self._size, world)
        return self._read(mine.start, mine.stop)

    def _read(self, start: int, stop: int) -> RawBatches:
        for first in range(start, stop, self._rows_a_batch):
            rows = slice(first, min(first + self._rows_a_batch, stop))
            raw = {name: value[rows] for name, value in self._arrays.items()}
            yield RawBatch(raw, np.arange(rows.start, rows.stop))


@final
class Batches(Source):
    """Any iterable of batches; every rank reads it all and examines its share."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches

    @property
    def size(self) -> int | None:
        return None

    @property
    def in_memory(self) -> bool:
        return type(self._batches) in (list, tuple)

    @property
    def is_one_shot(self) -> bool:
        return isinstance(self._batches, Iterator)

    def open(self, world: World, draws: Sequence[Any]) -> RawBatches:
        return self._read(iter(self._batches), world)

    def _read(self, iterator: Iterator[Any], world: World) -> RawBatches:
        given = 0
        for raw in iterator:
            yield RawBatch(raw, mine=given % world.size == world.rank)
            given += 1
        if iterator is self._batches and not given:
            raise exhausted(self._batches)
        declared = self._declared()
        if declared not in (None, given):
            msg = f"the source declares {declared} batches (its length), but gave {given}"
            raise CoverageError(msg)

    def _declared(self) -> int | None:
        try:
            return len(self._batches) if isinstance(self._batches, Sized) else None
        except TypeError:  # it says that it does not know
            return None


def exhausted(source: object) -> EvaluationError:
    """Return the error for a source that gave its rows before and has none now."""
    msg = (
        f"the source {source!r} is exhausted: it can be read once only; pass something that can "
        "be read again, such as a list or an object with __iter__"
    )
    return EvaluationError(msg)


def is_columns(data: Any) -> bool:
    """Tell whether `data` is a mapping of arrays rather than of roles.

    Beside an array a list is a column of whatever it holds; by itself it may be one of batches.
    """
    if not isinstance(data, Mapping) or not data:
        return False
    beside_arrays = any(map(is_array, data.values()))
    return all(_is_column(value, of_anything=beside_arrays) for value in data.values())


def check_batches(data: Any) -> None:
    """Raise if a list holds samples in place of batches.

    A sample has fields that are single values. A batch may hold one too that has no rows: it is
    the same in every batch.

    Raises:
        TypeError: it holds samples.
    """
    if type(data) not in (list, tuple) or not data:
        return
    first = _parts(data[0])
    for name, value in first.items():
        if _is_single(value) and any(_differs(_parts(x).get(name), value) for x in data[1:]):
            where = f"field {name!r}" if isinstance(data[0], Mapping) else f"element {name}"
            msg = (
                f"`data` must hold batches, got a {type(data).__name__} of samples: their {where} "
                f"is a single value, {reprlib.repr(value)} in the first; pass one dict of columns, "
                'such as {"label": [sample["label"] for sample in samples]}, or wrap the samples '
                "in a torch Dataset; in a batch a field holds one value a row"
            )
            raise TypeError(msg)


def _parts(raw: Any) -> Mapping[Any, Any]:
    """Return the fields of a batch or sample by name, or by place."""
    if isinstance(raw, Mapping):
        return raw
    return dict(enumerate(raw)) if isinstance(raw, tuple | list) else {}


def _is_single(value: Any) -> bool:
    """Tell whether a value is one number or text."""
    return isinstance(value, str | bytes | int | float) or getattr(value, "ndim", 1) == 0


def _differs(value: Any, other: Any) -> bool:
    return _is_single(value) and bool(value != other)


def has_items(data: Any) -> bool:
    """Tell whether `data` is read sample by sample: it has a length and items, but no batches."""
    indexed = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    return indexed and (
        not hasattr(data, "__iter__") or type(data).__module__.startswith("datasets.")
    )


def _is_column(value: Any, *, of_anything: bool) -> bool:
    if isinstance(value, list | tuple):
        return of_anything or all(isinstance(item, str | int | float) for item in value)
    return is_array(value)


def is_array(value: Any) -> bool:
    """Tell whether a value is an array or a tensor."""
    return hasattr(value, "shape") and hasattr(value, "dtype")
