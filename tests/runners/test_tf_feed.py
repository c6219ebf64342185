"""The pipelines of `tf.data` and the datasets of Keras as sources."""

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from milepost.callbacks import Solo, World
from milepost.errors import CoverageError, StalledError, UnknownNameError
from milepost.inferencers import (
    ClassificationError,
    Inferencer,
    LabelSets,
    Retrieval,
    ScalarStats,
    any_shared,
)
from milepost.predictors import to_numpy
from milepost.runners import InferenceRunner, evaluate
from milepost.runners._feed import Feed
from milepost.runners._prefetch import Prefetch
from milepost.runners._source import Loading

N = 10
values = np.arange(N, dtype=np.float32)
labels = np.arange(N) % 3
samples = tf.data.Dataset.from_tensor_slices((values, labels))


class Rank(World):
    """A world to read a share in; nothing is gathered."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def gather(self, value: Any) -> list[Any]:
        raise AssertionError

    broadcast = share = gather  # type: ignore[assignment]


class Numbered(keras.utils.PyDataset):
    """Batches of four; `at` decides what happens at one of them."""

    def __init__(self, at: Callable[[int], object] = lambda number: None, **options: Any) -> None:
        super().__init__(**options)
        self.at = at

    @property
    def num_batches(self) -> int | None:
        return 3

    def __getitem__(self, number: int) -> Any:
        self.at(number)
        rows = slice(4 * number, 4 * number + 4)
        return values[rows], labels[rows]

    def on_epoch_end(self) -> None:
        raise AssertionError


class Endless(Numbered):
    num_batches = None

    def __getitem__(self, number: int) -> Any:
        return np.arange(4 * number, 4 * number + 4, dtype=np.float32)


def of_unknown_length() -> Any:
    spec = tf.TensorSpec((), tf.float32)
    return tf.data.Dataset.from_generator(lambda: iter(values), output_signature=spec)


SOURCES: dict[str, Any] = {
    "samples": lambda: samples,
    "batches": lambda: samples.batch(4),
    "batches loaded ahead": lambda: samples.batch(4).prefetch(2),
    "batches without the remainder": lambda: samples.batch(5, drop_remainder=True),
    "mappings": lambda: samples.map(lambda x, y: {"input": x, "label": y}).batch(3),
    "unknown length": of_unknown_length,
    "batches of unknown length": lambda: of_unknown_length().batch(3),
    "ragged": lambda: tf.data.Dataset.from_tensor_slices(
        tf.RaggedTensor.from_row_lengths(values, [1] * N)
    ).batch(4),
    "py dataset": Numbered,
    "py dataset with workers": lambda: Numbered(workers=2),
}


def batches_of(data: Any, size: int | None = None, **loading: Any) -> list[Any]:
    feed = Feed(data, fields=None, size=size, loading=Loading(**loading))
    return list(feed.open(Solo(), [feed.draw()]))


def rows_of(batches: list[Any]) -> list[Any]:
    """Return (id, first field) of all rows."""
    rows: list[Any] = []
    for batch in batches:
        first = next(iter(batch.fields.values()))
        numbers = to_numpy(getattr(first, "flat_values", first)).ravel().tolist()
        rows.extend(zip(batch.ids.tolist(), numbers, strict=True))
    return rows


EVERYTHING = [(i, float(i)) for i in range(N)]


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("size", [1, 3, 12])
def test_every_source_gives_each_sample_once_over_all_ranks(name: str, size: int) -> None:
    rows: list[Any] = []
    for rank in range(size):
        feed = Feed(SOURCES[name](), fields=None, size=None, loading=Loading())
        rows += rows_of(list(feed.open(Rank(rank, size), [feed.draw()] * size)))
    assert sorted(rows) == EVERYTHING


@pytest.mark.parametrize("name", [name for name in SOURCES if not name.startswith("py")])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_any_batch_size_can_be_asked_for(name: str, batch_size: int) -> None:
    batches = batches_of(SOURCES[name](), batch_size=batch_size)
    assert max(map(len, batches)) == min(batch_size, N)
    assert rows_of(batches) == EVERYTHING


def test_batches_are_taken_as_they_are_and_samples_are_batched() -> None:
    assert [len(batch) for batch in batches_of(samples.batch(4))] == [4, 4, 2]
    assert [len(batch) for batch in batches_of(samples)] == [10]


@pytest.mark.parametrize(
    ("dataset", "size"),
    [
        (samples, 10),
        (samples.batch(4), 10),
        (samples.batch(4).prefetch(1), 10),
        (samples.batch(4, drop_remainder=True), 8),
        (samples.batch(4, drop_remainder=True).map(lambda x, y: (x, y)), 8),
        (samples.batch(4).map(lambda x, y: (x, y)), None),
        (samples.filter(lambda x, y: x > 2), None),
        (samples.take(0), 0),
    ],
)
def test_the_number_of_rows_is_declared_where_it_is_known(dataset: Any, size: int | None) -> None:
    feed = Feed(dataset, fields=None, size=None, loading=Loading())
    assert feed.declared() == {"query": size}


@pytest.mark.parametrize(
    ("dataset", "count"),
    [
        (tf.data.Dataset.from_tensor_slices((np.ones((6, 3, 2)), np.eye(6))), 6),
        (tf.data.Dataset.from_tensor_slices(np.ones((6, 3))), 6),
        (tf.data.Dataset.from_tensor_slices(np.ones((6, 3))).map(lambda x: x), 6),
        (tf.data.Dataset.from_tensor_slices(np.ones((6, 3))).batch(2).unbatch(), 6),
        (tf.data.Dataset.from_tensor_slices(np.ones((6, 3))).batch(3, drop_remainder=True), 6),
        (tf.data.Dataset.from_tensors(np.ones((6, 6))), 6),
        (tf.data.Dataset.from_tensors((np.ones((6, 3)), np.ones(6))), 6),
    ],
)
def test_samples_and_batches_are_told_apart_without_a_scalar(dataset: Any, count: int) -> None:
    assert sum(map(len, batches_of(dataset))) == count


ENDLESS: list[Any] = [
    lambda: samples.repeat(),
    lambda: samples.batch(4).repeat(),
    Endless,
    lambda: Endless(workers=2),
]


@pytest.mark.parametrize("source", ENDLESS)
def test_an_endless_source_needs_a_size(source: Any) -> None:
    message = "`size` must say how much of the endless source of role 'query' is the set"
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        InferenceRunner(source(), [ScalarStats("input")])


@pytest.mark.parametrize("source", ENDLESS)
@pytest.mark.parametrize("size", [1, 4, 7])
def test_of_an_endless_source_exactly_the_first_samples_are_the_set(source: Any, size: int) -> None:
    assert rows_of(batches_of(source(), size)) == EVERYTHING[:size]
    metrics = evaluate(None, source(), [ScalarStats("input")], size=size)
    assert metrics == {"validation/input": (size - 1) / 2}


wrong = np.array([0.0] * 8 + [1.0, 1.0])


class Wrong(Numbered):
    def __getitem__(self, number: int) -> Any:
        return {"wrong": wrong[4 * number : 4 * number + 4]}


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("timeout_s", [None, 60.0])
def test_batches_of_4_4_2_with_0_0_2_wrong_give_a_fifth(
    prefetch: int, timeout_s: float | None
) -> None:
    dataset = tf.data.Dataset.from_tensor_slices({"wrong": wrong})
    for data in (
        dataset,
        dataset.batch(4),
        dataset.batch(4).prefetch(1),
        Wrong(),
        Wrong(workers=3),
    ):
        metrics = evaluate(
            None,
            data,
            [ClassificationError(wrong="wrong")],
            prefetch=prefetch,
            timeout_s=timeout_s,
        )
        assert metrics == {"validation/error": 0.2}


def test_ragged_and_sparse_fields_stay_what_they_are() -> None:
    ragged = tf.ragged.constant([[1], [2, 3], [4]])
    sparse = tf.sparse.from_dense(np.eye(3))
    dataset = tf.data.Dataset.from_tensor_slices({"ragged": ragged, "sparse": sparse})
    for batch_size in (None, 2):
        first = batches_of(dataset.batch(3), batch_size=batch_size)[0]
        assert isinstance(first.fields["ragged"], tf.RaggedTensor)
        assert isinstance(first.fields["sparse"], tf.SparseTensor)
        assert len(first) == (batch_size or 3)


def test_ragged_fields_are_sets_of_labels() -> None:
    lists = [["a", "é"], ["é"], [], ["c"], ["a", "c"], ["é"]]
    columns = np.array([[label in each for label in "aéc"] for each in lists])
    output = np.random.default_rng(0).normal(size=(6, 2))
    rows = {"output": output, "role": np.array(["query", "gallery"] * 3)}
    expected = evaluate(None, {**rows, "label": columns}, [Retrieval(relevant=any_shared)])
    ragged = {**rows, "label": tf.ragged.constant(lists)}
    sets = Retrieval(labels=LabelSets("label"), relevant=any_shared)
    for size in (1, 4):
        dataset = tf.data.Dataset.from_tensor_slices(ragged).ragged_batch(size)
        assert evaluate(None, dataset, [sets]) == expected


class Keep(Inferencer):
    name = "keep"

    def __init__(self, *fetches: str) -> None:
        self.fetches = fetches

    def reset(self) -> None:
        self.rows: list[Any] = []

    def update(self, rows: Any) -> None:
        self.rows.append(dict(rows))

    def state(self) -> Any:
        return {}

    def merge(self, states: Any) -> None: ...

    def compute(self) -> None: ...


def test_texts_are_strings_where_numpy_is_asked_for() -> None:
    keep = Keep("text", "raw")
    fields = {"id": ["a", "b"], "text": ["one", "zwölf"], "raw": [b"\xff", b"\x00"]}
    evaluate(None, tf.data.Dataset.from_tensor_slices(fields).batch(2), [keep])
    (rows,) = keep.rows
    assert rows["id"].tolist() == ["a", "b"]
    assert rows["text"].tolist() == ["one", "zwölf"]
    assert rows["text"].dtype.kind == "U"
    assert rows["raw"].tolist() == [b"\xff", b"\x00"]


def test_bfloat16_fields_are_float32() -> None:
    keep = Keep("x")
    evaluate(None, {"x": tf.constant([1.5, 2.5], tf.bfloat16)}, [keep])
    assert keep.rows[0]["x"].dtype == np.float32
    assert keep.rows[0]["x"].tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("data", "threads"), [(samples.batch(4), 0), (Numbered(), 1), (Numbered(workers=3), 0)]
)
def test_a_source_that_loads_ahead_itself_gets_no_thread_of_the_runner(
    data: Any, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    class Counted(Prefetch[Any]):  # type: ignore[misc]  # final, but for this count
        def __enter__(self) -> Any:
            started.append(self)
            return super().__enter__()

    monkeypatch.setattr("milepost.runners._examination.Prefetch", Counted)
    before = threading.active_count()
    assert evaluate(None, data, [ScalarStats("input")]) == {"validation/input": 4.5}
    assert len(started) == threads
    assert threading.active_count() == before


@pytest.mark.parametrize("chain", ["shuffle", "shuffle and cache", "shuffle and take"])
def test_reading_changes_no_order_of_a_training_on_the_same_dataset(chain: str) -> None:
    def orders(*, is_read: bool) -> list[list[int]]:
        tf.random.set_seed(0)
        dataset = tf.data.Dataset.range(N).shuffle(N, seed=1)
        dataset = dataset.cache() if chain.endswith("cache") else dataset
        dataset = dataset.take(6) if chain.endswith("take") else dataset
        dataset = dataset.batch(4)
        feed = Feed(dataset, fields=None, size=None, loading=Loading())
        epochs = []
        for _ in range(3):
            iterator = iter(dataset)
            batches = [next(iterator)]
            if is_read:
                list(feed.open(Solo(), [feed.draw()]))
            batches.extend(iterator)
            epochs.append([int(x) for batch in batches for x in batch])
        return epochs

    assert orders(is_read=True) == orders(is_read=False)


def test_a_shuffled_dataset_that_cannot_be_copied_is_read_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_large(**options: Any) -> Any:
        raise tf.errors.InvalidArgumentError(None, None, "more than 2 GB")

    monkeypatch.setattr(tf.raw_ops, "DatasetToGraphV2", too_large)
    with pytest.warns(RuntimeWarning, match=r"^`data` is shuffled and cannot be copied.*2 GB"):
        batches = batches_of(samples.shuffle(N))
    assert sorted(value for _, value in rows_of(batches)) == values.tolist()


def test_an_error_of_a_pipeline_surfaces_with_its_message() -> None:
    def broken() -> Iterator[Any]:
        yield 1.0
        msg = "sample 1 is damaged"
        raise OSError(msg)

    spec = tf.TensorSpec((), tf.float32)
    data = tf.data.Dataset.from_generator(broken, output_signature=spec)
    with pytest.raises(tf.errors.UnknownError, match="OSError: sample 1 is damaged"):
        evaluate(None, data, [ScalarStats("input")])


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_of_a_py_dataset_surfaces_as_it_is_and_leaves_no_thread(workers: int) -> None:
    def at(number: int) -> None:
        if number == 1:
            msg = "batch 1 is damaged"
            raise OSError(msg)

    before = threading.active_count()
    with pytest.raises(OSError, match=r"^batch 1 is damaged$"):
        evaluate(None, Numbered(at, workers=workers), [ScalarStats("input")])
    assert threading.active_count() == before


@pytest.mark.parametrize("kind", ["pipeline", "py dataset", "workers"])
def test_a_source_that_stalls_ends_the_run(kind: str) -> None:
    released = threading.Event()

    def at(number: int) -> None:
        if number == 1:
            released.wait()

    def stalling() -> Iterator[Any]:
        yield values
        released.wait()

    spec = tf.TensorSpec((None,), tf.float32)
    data: Any = {
        "pipeline": tf.data.Dataset.from_generator(stalling, output_signature=spec),
        "py dataset": Numbered(at),
        "workers": Numbered(at, workers=2),
    }[kind]
    try:
        with pytest.raises(StalledError, match=r"^the source gave nothing for 0.2 s"):
            evaluate(None, data, [ScalarStats("input")], timeout_s=0.2)
    finally:
        released.set()


def test_workers_give_batches_in_order_and_read_no_further_than_they_may() -> None:
    second_is_read, read = threading.Event(), []

    def at(number: int) -> None:
        read.append(number)
        if number == 0:
            assert second_is_read.wait(10)
        if number == 1:
            second_is_read.set()

    data = Numbered(at, workers=2, max_queue_size=2)
    assert rows_of(batches_of(data)) == EVERYTHING
    assert sorted(read) == [0, 1, 2]


@pytest.mark.parametrize("data", [samples.batch(4), samples.batch(4).map(lambda x, y: (x, y))])
def test_a_declared_size_that_is_not_met_names_both_counts(data: Any) -> None:
    with pytest.raises(CoverageError, match=r"declares 12 samples.*\b10\b"):
        evaluate(None, data, [ScalarStats("input")], size=12)


class Empty(Numbered):
    num_batches = 0


@pytest.mark.parametrize("data", [samples.take(0), samples.batch(4).take(0), Empty()])
def test_an_empty_source_gives_a_warning_and_no_metric(data: Any) -> None:
    message = "^validation: the source of role 'query' is empty; nothing is logged$"
    with pytest.warns(RuntimeWarning, match=message):
        assert evaluate(None, data, [ScalarStats("input")]) == {}


def test_an_unknown_field_is_an_error_naming_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown field or output 'lable'"):
        evaluate(None, samples, [ScalarStats("batch.lable")])


def test_nan_is_an_error_or_a_count_as_for_any_source() -> None:
    data = tf.data.Dataset.from_tensor_slices({"wrong": [0.0, np.nan]})
    with pytest.raises(ValueError, match="wrong"):
        evaluate(None, data, [ClassificationError(wrong="wrong")])


def test_elements_of_three_need_names() -> None:
    data = tf.data.Dataset.from_tensor_slices((values, labels, values)).batch(4)
    message = "`fields` must name the 3 elements of a batch, got ('input', 'label')"
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}"):
        evaluate(None, data, [ScalarStats("input")])
    metrics = evaluate(None, data, [ScalarStats("weight")], fields=("input", "label", "weight"))
    assert metrics == {"validation/weight": 4.5}


def test_a_py_dataset_makes_the_batches_itself() -> None:
    message = "`batch_size` cannot be 2: the source makes the batches itself"
    with pytest.raises(ValueError, match=f"^{message}$"):
        InferenceRunner(Numbered(), [ScalarStats("input")], batch_size=2)


def test_a_distributed_dataset_is_an_error_that_says_what_to_pass() -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    data = strategy.experimental_distribute_dataset(samples.batch(4))
    with pytest.raises(TypeError, match=r"^`data` must be the tf.data.Dataset itself"):
        InferenceRunner(data, [ScalarStats("input")])


def test_roles_may_be_of_different_kinds() -> None:
    keep = Keep("input")
    keep.roles = ("query", "gallery")
    data = {"query": samples.batch(4), "gallery": Numbered()}
    evaluate(None, data, [keep])
    assert [rows["role"][0] for rows in keep.rows] == ["query"] * 3 + ["gallery"] * 3
