"""Sources that PyTorch's loaders read: datasets, iterable datasets, data loaders."""

from collections.abc import Iterator, Sequence
from typing import Any, final

import numpy as np
from torch import Generator
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from milepost.callbacks import World
from milepost.errors import EvaluationError, StalledError
from milepost.runners._source import (
    DEFAULT_BATCH_SIZE,
    Batches,
    Loading,
    RawBatch,
    RawBatches,
    Source,
    has_items,
    shard,
)

Plan = list[np.ndarray[Any, Any]]
"""The batches to read, each as positions in the dataset."""


def torch_source(data: Any, loading: Loading) -> Source | None:
    """Return the source for what PyTorch's loaders read; None for any other kind of data."""
    if isinstance(data, DataLoader):
        return _of_loader(data, loading)
    if isinstance(data, IterableDataset):
        return Stream(
            data, DataLoader(data, batch_size=loading.batch_size or DEFAULT_BATCH_SIZE), loading
        )
    if isinstance(data, Dataset) or has_items(data):
        return Samples(
            data, DataLoader(data, batch_size=loading.batch_size or DEFAULT_BATCH_SIZE), loading
        )
    return None


def _of_loader(loader: DataLoader[Any], loading: Loading) -> Source:
    if isinstance(loader.dataset, IterableDataset):
        return Stream(loader.dataset, loader, loading)
    if loader.batch_sampler is None:
        return Batches(loader)
    return Samples(loader.dataset, loader, loading)


@final
class Samples(Source):
    """A map-style dataset; a loader's sampler says which of its samples belong to the set.

    Samples are read in shards without padding, whatever the sampler did for training: one that
    pads (`DistributedSampler`) is replaced, and so is a shuffle, which changes no result.

    Raises:
        ValueError: the sampler draws with replacement.
    """

    def __init__(self, dataset: Any, loader: DataLoader[Any], loading: Loading) -> None:
        self._dataset = dataset
        self._loader = loader
        self._loading = loading
        self._sampler: Any = _inner_sampler(loader)
        if getattr(self._sampler, "replacement", False):
            msg = (
                f"`data` must give each sample once, got a {type(self._sampler).__name__} that "
                "draws with replacement; pass the dataset itself"
            )
            raise ValueError(msg)

    @property
    def size(self) -> int | None:
        return len(self._dataset) if self._takes_all else None

    @property
    def _takes_all(self) -> bool:
        sampler = self._sampler
        if isinstance(sampler, RandomSampler):
            return sampler.num_samples == len(self._dataset)
        return isinstance(sampler, SequentialSampler) or hasattr(sampler, "num_replicas")

    @property
    def _own_batches(self) -> bool:
        """Whether a batch sampler decides what makes a batch."""
        return self._sampler is self._loader.batch_sampler

    def draw(self) -> Plan | None:
        if self._takes_all:
            return None
        drawn: list[Any] = list(self._sampler)
        if self._own_batches:
            return [np.asarray(batch, dtype=np.int64) for batch in drawn]
        return [np.sort(np.asarray(drawn, dtype=np.int64))]

    def open(self, world: World, draws: Sequence[Any]) -> RawBatches:
        plan = self._plan(world, draws)
        return _read_plan(iter(_rebuild(self._loader, self._loading, batch_sampler=plan)), plan)

    def _plan(self, world: World, draws: Sequence[Plan | None]) -> Plan:
        own, one_set = draws[world.rank], True
        if own is not None:
            one_set = _is_one_set([_join(plan or []) for plan in draws], world.rank)
            if self._own_batches:
                return (draws[0] or [])[world.rank :: world.size] if one_set else own
        positions = np.arange(len(self._dataset)) if own is None else _join(own)
        if one_set:
            positions = positions[shard(len(positions), world)]
        size = self._loading.batch_size or self._loader.batch_size or DEFAULT_BATCH_SIZE
        return [positions[start : start + size] for start in range(0, len(positions), size)]


def _inner_sampler(loader: DataLoader[Any]) -> Any:
    """Return what draws the positions, seen through wrappers of batch samplers."""
    sampler: Any = loader.batch_sampler
    while hasattr(sampler, "batch_sampler"):  # Accelerate's shards of a batch sampler
        sampler = sampler.batch_sampler
    if type(sampler) is BatchSampler:
        return sampler.sampler
    return sampler


def _join(plan: Plan) -> np.ndarray[Any, Any]:
    return np.concatenate([np.empty(0, dtype=np.int64), *plan])


def _is_one_set(draws: Sequence[np.ndarray[Any, Any]], rank: int) -> bool:
    """Tell whether all ranks drew the same positions, to be sharded, or each its own share."""
    sets = [np.unique(drawn) for drawn in draws]
    if len(sets[rank]) < len(draws[rank]):
        msg = (
            f"`data` must give each sample once, got a sampler that drew {len(draws[rank])} "
            f"positions, {len(sets[rank])} of them distinct; pass the dataset itself"
        )
        raise ValueError(msg)
    if all(np.array_equal(sets[0], other) for other in sets):
        return True
    together = np.concatenate(sets)
    if len(np.unique(together)) == len(together):
        return False
    msg = "`data` must be one set: the samplers of the ranks drew sets that differ and overlap"
    raise ValueError(msg)


@final
class Stream(Source):
    """An iterable dataset, read by one worker unless it says that it shards itself.

    It says so by an attribute `sharded = True`; then it may be read by several workers and ranks,
    and its samples must carry a field `"id"`. Otherwise every rank reads it all and examines its
    share of the batches.
    """

    def __init__(self, dataset: Any, loader: DataLoader[Any], loading: Loading) -> None:
        self._sharded = bool(getattr(dataset, "sharded", False))
        self._dataset = dataset
        self._loader = loader
        self._loading = loading

    @property
    def size(self) -> int | None:
        return (
            len(self._dataset)
            if hasattr(self._dataset, "__len__") and self._loader.batch_size
            else None
        )

    @property
    def needs_ids(self) -> bool:
        return self._sharded

    def open(self, world: World, draws: Sequence[Any]) -> RawBatches:
        workers = self._loading.num_workers or self._loader.num_workers
        loader = _rebuild(
            self._loader,
            self._loading,
            batch_size=self._loading.batch_size or self._loader.batch_size,
            num_workers=workers if self._sharded else min(workers, 1),
        )
        return self._read(iter(loader), world)

    def _read(self, iterator: Iterator[Any], world: World) -> RawBatches:
        for number, raw in enumerate(_until_stalled(iterator)):
            yield RawBatch(raw, mine=self._sharded or number % world.size == world.rank)


def _rebuild(loader: DataLoader[Any], loading: Loading, **changes: Any) -> DataLoader[Any]:
    """Return a loader like the user's that keeps nothing alive and draws from no global RNG."""
    workers = changes.setdefault("num_workers", loading.num_workers or loader.num_workers)
    if workers:
        changes["multiprocessing_context"] = loader.multiprocessing_context
        changes["prefetch_factor"] = loader.prefetch_factor
        changes["timeout"] = loading.timeout_s or loader.timeout
    return DataLoader(
        loader.dataset,
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
        generator=Generator().manual_seed(0),
        **changes,
    )


def _read_plan(iterator: Iterator[Any], plan: Plan) -> RawBatches:
    for positions, raw in zip(plan, _until_stalled(iterator), strict=True):
        yield RawBatch(raw, positions)


def _until_stalled(iterator: Iterator[Any]) -> Iterator[Any]:
    """Give what the loader gives; leave no worker behind, also when it is not read to its end.

    Raises:
        EvaluationError: a worker died.
        StalledError: the loader's time-out has passed.
    """
    workers = getattr(iterator, "_workers", ())
    try:
        yield from iterator
    except RuntimeError as error:
        if "timed out" not in str(error):
            raise
        msg = f"the loader gave nothing for its time-out: {error}"
        raise StalledError(msg) from error
    except (ConnectionError, EOFError) as error:  # what a worker that died had still to send
        for worker in workers:
            worker.join(1.0)
        died = [worker for worker in workers if worker.exitcode]
        if not died:
            raise
        msg = f"DataLoader worker {died[0].pid} died with exit code {died[0].exitcode}"
        raise EvaluationError(msg) from error
    finally:
        for worker in workers:
            worker.terminate()  # at once: a stalled one would be waited for
            worker.join(1.0)
        shut_down = getattr(iterator, "_shutdown_workers", None)
        if shut_down is not None:  # not left to `__del__`: an error's traceback holds the iterator
            shut_down()
