"""Models of Keras and TensorFlow over every kind of source: exact, or a clear error."""

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from milepost.errors import NonFiniteError, UnknownNameError
from milepost.inferencers import ClassificationError, Inferencer, Retrieval, ScalarStats
from milepost.runners import InferenceRunner, evaluate

wrong = np.array([0.0] * 8 + [1.0, 1.0], np.float32)
batches = [wrong[:4], wrong[4:8], wrong[8:]]
EXACT = {"validation/error": 0.2, "validation/loss": pytest.approx(0.2)}


class Same(keras.Model):
    """Gives its input, and counts its traces."""

    def __init__(self) -> None:
        super().__init__()
        self.traces = itertools.count()

    def call(self, input: Any) -> Any:
        next(self.traces)
        return {"wrong": input, "loss": keras.ops.mean(input)}


class Module(tf.Module):
    def __call__(self, input: Any) -> Any:
        return {"wrong": input, "loss": tf.reduce_mean(input)}


class Numbered(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> Any:
        return batches[number]


@tf.function
def function(input: Any) -> Any:
    return {"wrong": input, "loss": tf.reduce_mean(input)}


def built() -> Any:
    model = Same()
    model.build((None,))
    return model


samples = tf.data.Dataset.from_tensor_slices(wrong)
SOURCES: dict[str, Any] = {
    "list": lambda: batches,
    "columns": lambda: {"input": wrong},
    "tensors": lambda: {"input": tf.constant(wrong)},
    "samples": lambda: samples,
    "batches": lambda: samples.batch(4),
    "batches without the remainder": lambda: samples.batch(5, drop_remainder=True),
    "unknown length": lambda: samples.filter(lambda x: True).batch(4),
    "py dataset": Numbered,
    "py dataset with workers": lambda: Numbered(workers=2),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("model", [built, Module, lambda: function])
def test_batches_of_4_4_2_with_0_0_2_wrong_give_a_fifth(name: str, model: Any) -> None:
    inferencers = [ClassificationError(wrong="wrong"), ScalarStats("loss")]
    assert evaluate(model(), SOURCES[name](), inferencers) == EXACT


def test_an_endless_pipeline_is_examined_so_far_as_its_size_says() -> None:
    data = samples.batch(4).repeat()
    inferencers = [ClassificationError(wrong="wrong"), ScalarStats("loss")]
    assert evaluate(built(), data, inferencers, size=10) == EXACT


def test_a_short_last_batch_and_a_second_run_trace_nothing_again() -> None:
    model = built()
    before = next(model.traces)
    runner = InferenceRunner(samples.batch(4), [ScalarStats("loss")])
    for epoch in (1, 2):
        metrics = runner.maybe_run(model, epoch=epoch) or {}
        assert metrics["validation/loss"] == pytest.approx(0.2)
    assert next(model.traces) == before + 2


def test_ragged_and_sparse_inputs_go_to_the_model_as_they_are() -> None:
    ragged = tf.ragged.constant([[1.0], [2.0, 3.0], [], [6.0]])
    data = tf.data.Dataset.from_tensor_slices(ragged).batch(3)
    total = tf.function(lambda x: {"sum": tf.reduce_sum(x, axis=1)})
    assert evaluate(total, data, [ScalarStats("sum")]) == {"validation/sum": 3.0}
    sparse = tf.data.Dataset.from_tensor_slices(tf.sparse.from_dense(np.eye(4))).batch(3)
    total = tf.function(lambda x: {"sum": tf.sparse.reduce_sum(x, axis=1)})
    assert evaluate(total, sparse, [ScalarStats("sum")]) == {"validation/sum": 1.0}


def test_features_in_a_mapping_go_to_the_model_together() -> None:
    class Sum(keras.Model):
        def call(self, features: Any) -> Any:
            return features["a"] + features["b"]

    features = {"a": wrong, "b": 2 * wrong}
    model = Sum()
    model(features)
    data = tf.data.Dataset.from_tensor_slices((features, wrong))
    for source in (data, data.batch(4)):
        assert evaluate(model, source, [ScalarStats("output")]) == {
            "validation/output": pytest.approx(0.6)
        }
    endless = data.batch(4).repeat()
    metrics = evaluate(model, endless, [ScalarStats("output")], size=9)
    assert metrics == {"validation/output": pytest.approx(1 / 3)}


@pytest.mark.parametrize("kind", [tuple, dict])
def test_inputs_that_are_paired_with_labels_go_to_the_model_together(kind: type) -> None:
    a, b = keras.Input((1,), name="a"), keras.Input((2,), name="b")
    total = keras.ops.sum(keras.layers.Concatenate()([a, b]), axis=1)
    one, two = np.ones((10, 1), np.float32), np.arange(20, dtype=np.float32).reshape(10, 2)
    x: Any = {"b": two, "a": one} if kind is dict else (one, two)
    data = tf.data.Dataset.from_tensor_slices((x, wrong)).batch(4)
    model = keras.Model([a, b], total)
    inferencers = [ScalarStats("output"), ScalarStats("label")]
    metrics = evaluate(model, data, inferencers)
    assert metrics == {"validation/output": 20.0, "validation/label": pytest.approx(0.2)}
    metrics = evaluate(model, data.repeat(), inferencers, size=6)
    assert metrics == {"validation/output": 12.0, "validation/label": 0.0}


def test_texts_are_embedded_and_matched_by_their_labels() -> None:
    texts = ["aa", "ab", "ba", "bb"]
    data = tf.data.Dataset.from_tensor_slices({"text": texts, "label": ["a", "a", "b", "b"]})

    @tf.function
    def embed(text: Any) -> Any:
        first = tf.strings.substr(text, 0, 1)
        return {"output": tf.one_hot(tf.cast(first == b"a", tf.int32), 2)}

    inferencer = Retrieval(labels="label", k=(1,), metrics=("hit_rate",))
    metrics = evaluate(embed, data.batch(3), [inferencer])
    assert metrics["validation/hit_rate@1"] == 1.0


def test_out_of_memory_halves_the_batch_and_goes_on() -> None:
    sizes: list[int] = []

    def forward(model: Any, batch: Any) -> Any:
        sizes.append(len(batch["input"]))
        if sizes[-1] > 2:
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
        return {"wrong": batch["input"]}

    model = built()
    model.compile(run_eagerly=True)
    inferencers = [ClassificationError(wrong="wrong")]
    metrics = evaluate(model, samples.batch(5), inferencers, forward=forward)
    assert metrics == {"validation/error": 0.2}
    assert sizes == [5, 3, 2, 1, 2, 2, 2, 1]


def test_an_unknown_output_is_an_error_naming_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"'wrog'.*did you mean 'wrong'"):
        evaluate(built(), samples.batch(4), [ScalarStats("wrog")])


def test_embeddings_that_are_not_finite_are_an_error_naming_the_first_ids() -> None:
    embeddings = np.ones((6, 2), np.float32)
    embeddings[3, 1] = np.nan
    data = tf.data.Dataset.from_tensor_slices((embeddings, np.arange(6))).batch(4)
    with pytest.raises(NonFiniteError, match="3"):
        evaluate(tf.function(lambda x: x), data, [Retrieval()])


def test_an_error_of_the_model_surfaces_and_names_no_thread() -> None:
    def broken(model: Any, batch: Any) -> Any:
        msg = "no such layer"
        raise KeyError(msg)

    with pytest.raises(KeyError, match="no such layer"):
        evaluate(built(), samples.batch(4), [ScalarStats("loss")], forward=broken)


def test_two_roles_are_searched_against_each_other() -> None:
    gallery = tf.data.Dataset.from_tensor_slices((np.eye(4, dtype=np.float32), np.arange(4)))
    query = gallery.take(3).batch(2)
    inferencers: list[Inferencer] = [Retrieval(k=(1,))]
    model = tf.function(lambda x: x)
    metrics = evaluate(model, {"query": query, "gallery": gallery.shuffle(4)}, inferencers)
    assert metrics["validation/hit_rate@1"] == 1.0


def test_rows_play_the_role_that_they_say() -> None:
    rng = np.random.default_rng(1)
    embeddings, labels = rng.standard_normal((12, 3)).astype(np.float32), rng.integers(0, 2, 12)
    roles = np.where(np.arange(12) % 3 > 0, "gallery", "query")
    data = tf.data.Dataset.from_tensor_slices(
        {"x": embeddings, "label": labels, "role": roles}
    ).batch(5)
    model = tf.function(lambda x: x)
    inferencers: list[Inferencer] = [Retrieval(k=(1, 3)), ScalarStats("label")]
    metrics = evaluate(model, data, inferencers, inputs=("x",))
    sources = {
        role: {
            "x": embeddings[roles == role],
            "label": labels[roles == role],
            "id": np.flatnonzero(roles == role),
        }
        for role in ("query", "gallery")
    }
    assert metrics == evaluate(model, sources, inferencers, inputs=("x",))
