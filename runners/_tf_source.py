"""Sources that TensorFlow reads: the pipelines of `tf.data`."""

from collections.abc import Iterator, Sequence
from typing import Any, final

import tensorflow as tf

from milepost.callbacks import World
from milepost.runners._source import Batches, Loading, RawBatches, Source
from milepost.runners._tf_shuffle import lineage, with_own_order

_KEEP_ELEMENTS = ("_PrefetchDataset", "_OptionsDataset")
_MAKE_BATCHES = ("_BatchDataset", "_ParallelBatchDataset", "_PaddedBatchDataset")


def tf_source(data: Any, loading: Loading) -> Source | None:
    """Return the source for a `tf.data.Dataset`; None for any other kind of data.

    Raises:
        TypeError: it is distributed already.
    """
    if isinstance(data, tf.distribute.DistributedDataset):
        msg = "`data` must be the tf.data.Dataset itself, got one that a strategy has distributed"
        raise TypeError(msg)
    return Pipeline(data, loading) if isinstance(data, tf.data.Dataset) else None


@final
class Pipeline(Source):
    """A `tf.data.Dataset`, which loads ahead by itself; every rank reads it all.

    Its batches are taken as they are, unless a batch size is asked for; single samples are
    batched. Rows that it leaves out by `drop_remainder` do not belong to the set. An order that is
    drawn anew at each reading is drawn for this source alone: a training on the same dataset does
    not see it.
    """

    prefetches = True

    def __init__(self, dataset: Any, loading: Loading) -> None:
        self._dataset = dataset
        self._loading = loading
        self._batches: Batches | None = None

    @property
    def size(self) -> int | None:
        count = _count_rows(self._dataset)
        return count if count >= 0 else None

    @property
    def is_endless(self) -> bool:
        return int(self._dataset.cardinality()) == int(tf.data.INFINITE_CARDINALITY)

    def open(self, world: World, draws: Sequence[Any]) -> RawBatches:
        if self._batches is None:
            self._batches = Batches(with_own_order(self._ready()))
        return self._batches.open(world, draws)

    def _ready(self) -> Any:
        """Return the dataset in batches that are loaded ahead."""
        dataset = self._dataset
        if not _is_batched(dataset):
            dataset = dataset.batch(self._loading.rows_a_batch(None))
        elif self._loading.batch_size is not None:
            dataset = dataset.rebatch(self._loading.batch_size)
        return dataset.prefetch(tf.data.AUTOTUNE)


def _is_batched(dataset: Any) -> bool:
    """Tell whether the elements of a dataset are batches rather than samples.

    Samples have a scalar among their arrays, or arrays of different lengths; where the arrays do
    not tell, what was done to the dataset does.
    """
    shapes = list(_shapes(dataset))
    if any(shape.rank == 0 for shape in shapes):
        return False
    lengths = {shape[0] for shape in shapes if shape.rank}
    if len(lengths - {None}) > 1:
        return False
    done = [type(step).__name__ for step in lineage(dataset)]
    last = next((name for name in done if "batch" in name.lower()), None)
    return "_TensorSliceDataset" not in done if last is None else "Unbatch" not in last


def _shapes(dataset: Any) -> Iterator[Any]:
    for spec in tf.nest.flatten(dataset.element_spec):
        if hasattr(spec, "shape"):
            yield spec.shape


def _count_rows(dataset: Any) -> int:
    """Return how many rows a dataset has, negative where only reading tells."""
    elements = int(dataset.cardinality())
    if not _is_batched(dataset) or elements < 0:
        return elements
    lengths = {shape[0] for shape in _shapes(dataset) if shape.rank}
    if len(lengths) == 1 and None not in lengths:
        return elements * int(lengths.pop())
    batching = _batching(dataset)
    return -1 if batching is None else int(batching._input_dataset.cardinality())


def _batching(dataset: Any) -> Any:
    """Return the step that made the batches as they are; None if that cannot be told."""
    while type(dataset).__name__ in _KEEP_ELEMENTS:
        dataset = dataset._input_dataset
    return dataset if type(dataset).__name__ in _MAKE_BATCHES else None
