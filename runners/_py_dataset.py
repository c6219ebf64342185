"""A Keras `PyDataset` as a source: batches by their numbers."""

import itertools
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, final

from milepost.callbacks import World
from milepost.runners._prefetch import Prefetch
from milepost.runners._source import Loading, RawBatch, RawBatches, Source


def py_dataset_source(data: Any, loading: Loading) -> Source | None:
    """Return the source for a Keras `PyDataset`; None for any other kind of data."""
    utils = getattr(sys.modules.get("keras"), "utils", None)
    kind = getattr(utils, "PyDataset", None)
    return PyDataset(data, loading) if kind is not None and isinstance(data, kind) else None


@final
class PyDataset(Source):
    """A Keras `PyDataset`; its `workers` are threads, which read ahead in order.

    Every rank reads it all. Its `on_epoch_end` is not called: what it may change belongs to the
    training.
    """

    def __init__(self, dataset: Any, loading: Loading) -> None:
        loading.forbid_batch_size()
        self._dataset = dataset
        self._timeout_s = loading.timeout_s

    @property
    def size(self) -> int | None:
        return None

    @property
    def is_endless(self) -> bool:
        return self._dataset.num_batches is None

    @property
    def prefetches(self) -> bool:
        return self._workers > 1

    @property
    def _workers(self) -> int:
        return int(self._dataset.workers)

    def open(self, world: World, draws: Sequence[Any]) -> RawBatches:
        return self._read(world)

    def _read(self, world: World) -> RawBatches:
        with ExitStack() as stack:
            lanes = self._lanes(stack) if self.prefetches else [self._load()]
            for number, lane in zip(self._numbers(), itertools.cycle(lanes), strict=False):
                yield RawBatch(next(lane), mine=number % world.size == world.rank)

    def _lanes(self, stack: ExitStack) -> list[Iterator[Any]]:
        """Start a thread for each worker; the batch after that of one is that of the next."""
        workers = self._workers
        depth = max(1, int(self._dataset.max_queue_size) // workers)
        threads = [
            Prefetch(self._load(first, workers), depth=depth, timeout_s=self._timeout_s)
            for first in range(workers)
        ]
        return [iter(stack.enter_context(thread)) for thread in threads]

    def _load(self, first: int = 0, step: int = 1) -> Generator[Any, None, None]:
        for number in self._numbers(first, step):
            yield self._dataset[number]

    def _numbers(self, first: int = 0, step: int = 1) -> Iterable[int]:
        count = self._dataset.num_batches
        return itertools.count(first, step) if count is None else range(first, count, step)
