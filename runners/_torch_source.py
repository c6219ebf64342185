"""Sources that PyTorch's loaders read: datasets, iterable datasets, data loaders."""

from collections.abc import Iterator, Sequence
from typing import Any, final

import numpy as np
from torch import Generator, from_numpy
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from milepost.callbacks import World
from milepost.errors import EvaluationError, StalledError
from milepost.runners._source import (
    Batches,
    Loading,
    RawBatch,
    RawBatches,
    Source,
    has_items,
    shard,
)
from milepost.runners._torch_sampler import (
    Plan,
    generators_kept,
    inner_sampler,
    is_one_set,
    join,
    positions_of,
)


def torch_source(data: Any, loading: Loading) -> Source | None:
    """Return the source for what PyTorch's loaders read; None for any other kind of data."""
    if isinstance(data, DataLoader):
        return _of_loader(_unprepared(data), loading)
    if isinstance(data, Dataset) or has_items(data):
        loader: DataLoader[Any] = DataLoader(data, batch_size=loading.rows_a_batch(None))
        return _of_loader(loader, loading)
    return None


def _of_loader(loader: DataLoader[Any], loading: Loading) -> Source:
    if type(loader).__iter__ is not DataLoader.__iter__:
        return Batches(loader)  # what it gives is not what its dataset holds
    if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
        return Stream(loader, loading)
    return Samples(loader, loading)


def _unprepared(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Return the loader inside one that Accelerate prepared, which pads each process's share."""
    if type(loader).__module__ != "accelerate.data_loader":
        return loader
    inner: DataLoader[Any] = loader.base_dataloader  # type: ignore[attr-defined]
    if type(inner.dataset).__name__ == "IterableDatasetShard":
        msg = (
            "`data` must be whole, got a loader that Accelerate prepared, whose iterable dataset "
            "gives each process a share; pass the loader as it was before `prepare`"
        )
        raise ValueError(msg)
    return inner


class _Loaded(Source):
    """What a loader reads, rebuilt for each run so that nothing of it stays alive."""

    def __init__(self, loader: DataLoader[Any], loading: Loading) -> None:
        self._loader = loader
        self._loading = loading
        self._workers: Sequence[Any] = ()

    @property
    def _num_workers(self) -> int:
        return self._loading.num_workers or self._loader.num_workers

    def stop(self) -> None:
        for worker in self._workers:
            worker.terminate()  # at once: one that stalls would be waited for

    def _start(self, **changes: Any) -> Iterator[Any]:
        """Start to read through a loader like the user's that draws from no global generator."""
        loader = self._loader
        workers = changes.setdefault("num_workers", self._num_workers)
        if workers:
            changes["multiprocessing_context"] = loader.multiprocessing_context
            changes["prefetch_factor"] = loader.prefetch_factor
            changes["timeout"] = self._loading.timeout_s or loader.timeout
        iterator = iter(
            DataLoader(
                loader.dataset,
                collate_fn=loader.collate_fn,
                worker_init_fn=loader.worker_init_fn,
                generator=Generator().manual_seed(0),
                **changes,
            )
        )
        self._workers = getattr(iterator, "_workers", ())
        return iterator

    def _until_stalled(self, iterator: Iterator[Any]) -> Iterator[Any]:
        """Give what the loader gives; leave no worker behind, also when it is not read to its end.

        Raises:
            EvaluationError: a worker died.
            StalledError: the loader's time-out has passed.
        """
        try:
            yield from iterator
        except RuntimeError as error:
            if "timed out" not in str(error):
                raise
            msg = f"the loader gave nothing for its time-out: {error}"
            raise StalledError(msg) from error
        except (ConnectionError, EOFError) as error:  # what a worker that died had still to send
            for worker in self._workers:
                worker.join(1.0)
            died = [worker for worker in self._workers if worker.exitcode]
            if not died:
                raise
            msg = f"DataLoader worker {died[0].pid} died with exit code {died[0].exitcode}"
            raise EvaluationError(msg) from error
        finally:
            self.stop()
            for worker in self._workers:
                worker.join(1.0)
            shut_down = getattr(iterator, "_shutdown_workers", None)
            if shut_down is not None:  # not left to `__del__`: an error's traceback holds it
                shut_down()


@final
class Samples(_Loaded):
    """A map-style dataset; a loader's sampler says which of its samples belong to the set.

    Samples are read in shards without padding, whatever the sampler did for training: torch's
    `DistributedSampler`, which pads, is replaced, and so is a shuffle, which changes no result.

    Raises:
        ValueError: the sampler draws with replacement.
    """

    def __init__(self, loader: DataLoader[Any], loading: Loading) -> None:
        super().__init__(loader, loading)
        self._sampler: Any = inner_sampler(loader)
        if getattr(self._sampler, "replacement", False):
            msg = (
                f"`data` must give each sample once, got a {type(self._sampler).__name__} that "
                "draws with replacement; pass the dataset itself"
            )
            raise ValueError(msg)

    @property
    def size(self) -> int | None:
        return self._dataset_size if self._takes_all else None

    @property
    def _dataset_size(self) -> int:
        return len(self._loader.dataset)  # type: ignore[arg-type]

    @property
    def in_memory(self) -> bool:
        """Whether a batch is an index into tensors, and nothing of the user's comes between."""
        loader = self._loader
        plain = type(loader.dataset) is TensorDataset and loader.collate_fn is default_collate
        return plain and not self._num_workers

    @property
    def _takes_all(self) -> bool:
        """Whether the sampler is one of torch's own that leave out nothing."""
        sampler, size = self._sampler, self._dataset_size
        if type(sampler) is RandomSampler:
            return len(sampler.data_source) == sampler.num_samples == size
        if type(sampler) is SequentialSampler:
            return len(sampler.data_source) == size
        padded = type(sampler) is DistributedSampler
        return padded and len(sampler.dataset) == size

    @property
    def _own_batches(self) -> bool:
        """Whether a batch sampler decides what makes a batch."""
        return self._sampler is self._loader.batch_sampler

    def draw(self) -> Plan | None:
        if self._takes_all:
            return None
        with generators_kept(self._loader, self._sampler):
            drawn: list[Any] = list(self._sampler)
        if self._own_batches:
            return [positions_of(batch) for batch in drawn]
        return [sorted(positions_of(drawn))]

    def open(self, world: World, draws: Sequence[Any]) -> RawBatches:
        plan = self._plan(world, draws)
        if self.in_memory:
            return _read_tensors(self._loader.dataset, plan)
        return self._read(self._start(batch_sampler=plan), plan)

    def _plan(self, world: World, draws: Sequence[Plan | None]) -> Plan:
        own, one_set = draws[world.rank], True
        if own is not None:
            one_set = is_one_set([join(plan or []) for plan in draws], world.rank)
            if self._own_batches:
                return (draws[0] or [])[world.rank :: world.size] if one_set else own
        positions = range(self._dataset_size) if own is None else join(own)
        mine = list(positions[shard(len(positions), world)] if one_set else positions)
        size = self._loading.rows_a_batch(self._loader.batch_size)
        return [mine[start : start + size] for start in range(0, len(mine), size)]

    def _read(self, iterator: Iterator[Any], plan: Plan) -> RawBatches:
        for positions, raw in zip(plan, self._until_stalled(iterator), strict=True):
            yield RawBatch(raw, np.array(positions))


@final
class Stream(_Loaded):
    """An iterable dataset, or batches that a dataset holds as its items.

    It is read by one worker unless it says that it shards itself, by an attribute `sharded = True`
    of the dataset; then it may be read by several workers and ranks, and must carry a field
    `"id"`. Otherwise every rank reads it all and examines its share of the batches.

    Raises:
        ValueError: a batch size is asked for, but the dataset makes the batches.
    """

    def __init__(self, loader: DataLoader[Any], loading: Loading) -> None:
        super().__init__(loader, loading)
        self._sharded = bool(getattr(loader.dataset, "sharded", False))
        if loader.batch_size is None and loading.batch_size is not None:
            msg = "`batch_size` cannot be changed: the loader's dataset makes the batches itself"
            raise ValueError(msg)

    @property
    def size(self) -> int | None:
        if self._loader.batch_size is None:
            return None
        try:
            return len(self._loader.dataset)  # type: ignore[arg-type]
        except TypeError:  # it has none, or says that it does not know
            return None

    @property
    def needs_ids(self) -> bool:
        return self._sharded

    def open(self, world: World, draws: Sequence[Any]) -> RawBatches:
        workers = self._loading.num_workers or self._loader.num_workers
        changes: dict[str, Any] = {"num_workers": workers if self._sharded else min(workers, 1)}
        if self._loader.batch_size is None:
            changes["batch_size"] = None
        else:
            changes["batch_size"] = self._loading.rows_a_batch(self._loader.batch_size)
        if not isinstance(self._loader.dataset, IterableDataset):
            with generators_kept(self._loader, self._loader.sampler):
                changes["sampler"] = list(self._loader.sampler)
        return self._read(self._start(**changes), world)

    def _read(self, iterator: Iterator[Any], world: World) -> RawBatches:
        for number, raw in enumerate(self._until_stalled(iterator)):
            yield RawBatch(raw, mine=self._sharded or number % world.size == world.rank)


def _read_tensors(dataset: Any, plan: Plan) -> RawBatches:
    """Give what a loader gives, without putting each batch together from its samples."""
    for batch in plan:
        positions = np.array(batch)
        index = from_numpy(positions)
        yield RawBatch([tensor[index] for tensor in dataset.tensors], positions)
