"""What outputs of TensorFlow models are called, how they are found, and when they are traced."""

import dataclasses
import gc
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from milepost.errors import UnknownNameError
from milepost.predictors import get_predictor, is_training

X = np.ones((1, 2), np.float32)


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclasses.dataclass
class Record:
    first: Any
    second: Any


class Giving(keras.Model):
    def __init__(self, give: Callable[[Any], Any]) -> None:
        super().__init__()
        self.give = give

    def call(self, x: Any) -> Any:
        return self.give(x)


def _numbers(outputs: dict[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(value).ravel()[0] for name, value in outputs.items()}


@pytest.mark.parametrize(
    ("give", "names"),
    [
        (lambda x: {"first": x, "second": 2 * x}, ["first", "second"]),
        (lambda x: Pair(x, 2 * x), ["first", "second"]),
        (lambda x: Record(x, 2 * x), ["first", "second"]),
        (lambda x: (x, 2 * x), ["0", "1"]),
        (lambda x: [x, 2 * x], ["0", "1"]),
    ],
)
def test_outputs_are_named_by_what_the_model_returns(give: Any, names: list[str]) -> None:
    model = Giving(give)
    predictor = get_predictor(model)
    assert _numbers(predictor(X)) == dict(zip(names, (1, 2), strict=True))
    assert predictor.own_outputs == tuple(names)
    assert _numbers(get_predictor(model, outputs=[1])(X)) == {"1": 2}
    assert _numbers(get_predictor(model, outputs=names[1])(X)) == {names[1]: 2}


def test_outputs_may_be_nested_and_no_tensors() -> None:
    model = Giving(lambda x: {"states": (x, Pair(2 * x, None)), "size": 7, "of": np.array([3.0])})
    outputs = get_predictor(model)(X)
    assert outputs["states"][1].first.numpy().tolist() == [[2, 2]]
    assert (outputs["states"][1].second, outputs["size"]) == (None, 7)
    assert outputs["of"].numpy().tolist() == [3]
    assert _numbers(get_predictor(model, outputs="states.0")(X)) == {"states.0": 1}


def _nested() -> keras.Model:
    image = keras.Input((2,))
    inner = keras.Sequential([layers.Dense(3, name="block1"), layers.ReLU()], name="encoder")
    return keras.Model(image, layers.Dense(1, name="head")(inner(image)))


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = _nested()
        self.blocks = [layers.Dense(3), layers.Dense(4, name="last")]
        self._private = layers.Dense(5)

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self._private(x), self.encoder(x[:, :2])


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("encoder", (1, 1)),
        ("encoder.encoder.block1", (1, 3)),
        ("encoder.head", (1, 1)),
        ("encoder.layers.2", (1, 1)),
        ("blocks.0", (1, 3)),
        ("blocks.1", (1, 4)),
        ("last", (1, 4)),
        ("_private", (1, 5)),
    ],
)
def test_an_inner_layer_is_found_by_name_attribute_or_position(
    name: str, shape: tuple[int, ...]
) -> None:
    model = Subclassed()
    model(X)
    predictor = get_predictor(model, outputs=name)
    assert predictor.has_inner(name)
    assert predictor(X)[name].shape == shape


def test_an_inner_layer_with_several_outputs_must_be_asked_for_one() -> None:
    steps = keras.Input((4, 2))
    lstm = layers.LSTM(3, return_state=True, name="lstm")
    model = keras.Model(steps, lstm(steps)[0])
    x = np.ones((1, 4, 2), np.float32)
    with pytest.raises(ValueError, match="several") as raised:
        get_predictor(model, outputs="lstm")(x)
    assert str(raised.value) == (
        "inner module 'lstm' gave several outputs; choose one: 'lstm.0', 'lstm.1', 'lstm.2'"
    )
    outputs = get_predictor(model, outputs=["lstm.1", "lstm.2"])(x)
    assert outputs["lstm.1"].shape == outputs["lstm.2"].shape == (1, 3)
    assert not get_predictor(model).has_inner("lstm.1")


def test_an_inner_layer_that_does_not_run_is_an_error() -> None:
    model = Giving(lambda x: x)
    model.spare = layers.ReLU()
    with pytest.raises(ValueError, match="spare") as raised:
        get_predictor(model, outputs="spare")(X)
    assert str(raised.value) == "inner module 'spare' did not run in this forward pass"


def test_a_layer_inside_a_function_of_the_model_cannot_be_had() -> None:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.relu = layers.ReLU()

        @tf.function
        def inside(self, x: Any) -> Any:
            return self.relu(x)

        def call(self, x: Any) -> Any:
            return self.inside(x)

    with pytest.raises(ValueError, match="relu") as raised:
        get_predictor(Model(), outputs="relu")(X)
    assert str(raised.value) == (
        "inner module 'relu' runs inside a tf.function or loop of the model's own, out of which "
        "its output cannot be had; let the model return it"
    )


def test_no_replaced_call_is_left_also_when_the_forward_pass_fails() -> None:
    model = Subclassed()
    model.spare = layers.ReLU()
    model(X)
    with pytest.raises(ValueError, match="did not run"):
        get_predictor(model, outputs=["blocks.0", "spare"])(X)
    with pytest.raises(ValueError, match="incompatible"):
        get_predictor(model, outputs=["blocks.0"])(np.ones((1, 9), np.float32))
    assert not any("call" in vars(part) for part in model.blocks)


def test_an_unknown_output_of_a_function_is_an_error() -> None:
    with pytest.raises(UnknownNameError) as raised:
        get_predictor(tf.function(lambda x: {"logits": x}), outputs="logit")(X)
    assert str(raised.value) == (
        "unknown output 'logit'; did you mean 'logits'? There are: 'logits'"
    )


# --- traces --------------------------------------------------------------------------------------


class Counting(keras.Model):
    """Counts how often Python runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(2)
        self.traces: list[Any] = []

    def call(self, x: Any) -> Any:
        self.traces.append(tuple(x.shape))
        return self.dense(x)


@pytest.fixture
def counting() -> Counting:
    model = Counting()
    model(X)
    return model


def _traces(model: Counting, run: Callable[[], object]) -> int:
    """Return how often a model is traced; what its attributes hold is given back each time."""
    seen: list[int] = []
    plain = model.dense.call

    def call(*arguments: Any, **keywords: Any) -> Any:
        seen.append(1)
        return plain(*arguments, **keywords)

    vars(model.dense)["call"] = call
    run()
    del vars(model.dense)["call"]
    return len(seen)


def test_batches_of_any_size_and_new_weights_are_seen_without_a_new_trace(
    counting: Counting,
) -> None:
    def run() -> None:
        for rows in (3, 1, 0, 3):
            predictor = get_predictor(counting)
            before = predictor(np.ones((rows, 2), np.float32))["output"]
            kernel, _ = counting.dense.weights
            kernel.assign(2 * kernel)
            after = predictor(np.ones((rows, 2), np.float32))["output"]
            assert np.array_equal(2 * before, after)

    assert _traces(counting, run) == 1


def test_snapshots_and_replicas_share_the_traces_of_the_model(counting: Counting) -> None:
    def run() -> None:
        for _ in range(3):
            get_predictor(counting, weights="snapshot")(X)
            get_predictor(counting).replicate()(X)
            get_predictor(counting)(X)

    assert _traces(counting, run) == 1


def test_inputs_of_several_lengths_are_traced_twice() -> None:
    model = Counting()
    model(np.ones((1, 5, 2), np.float32))

    def run() -> None:
        predictor = get_predictor(model)
        for length in (5, 7, 3, 5):
            shape = (2, length, 2)
            assert predictor(np.ones(shape, np.float32))["output"].shape == shape

    assert _traces(model, run) == 2


def test_a_layer_that_is_replaced_is_seen() -> None:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.parts = [layers.Dense(2)]

        def call(self, x: Any) -> Any:
            return self.parts[-1](x)

    model = Model()
    model(X)
    predictor = get_predictor(model)
    assert predictor(X)["output"].shape == (1, 2)
    other = layers.Dense(3)
    other(X)
    model._tracker.unlock()
    model.parts = [other]
    model._tracker.lock()
    assert predictor(X)["output"].shape == (1, 3)


def test_a_layer_without_weights_that_is_replaced_is_seen() -> None:
    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = layers.ReLU()

        def __call__(self, x: Any) -> Any:
            return self.last(x)

    module = Module()
    model = keras.Sequential([keras.Input((2,)), layers.ReLU()])
    predictors = [get_predictor(module), get_predictor(model)]
    for predictor in predictors:
        assert predictor(-X)["output"].numpy().tolist() == [[0, 0]]
    module.last = layers.Activation("linear")
    model.pop()
    model.add(layers.Activation("linear"))
    for predictor in predictors:
        assert predictor(-X)["output"].numpy().tolist() == (-X).tolist()


def test_a_layer_that_is_adapted_anew_is_seen() -> None:
    words, scale = layers.StringLookup(), layers.Normalization()
    words.adapt(["a", "b"])
    scale.adapt(np.array([[0.0, 0.0], [2.0, 2.0]]))
    text, x = keras.Input((1,), dtype="string", name="text"), keras.Input((2,), name="x")
    model = keras.Model({"text": text, "x": x}, {"text": words(text), "x": scale(x)})
    predictor = get_predictor(model)
    batch = {"text": np.array([["a"]]), "x": X}
    before = {name: value.numpy().tolist() for name, value in predictor(batch).items()}
    words.adapt(["c", "c", "b", "b", "a"])
    scale.adapt(np.array([[4.0, 4.0], [8.0, 8.0]]))
    after = {name: value.numpy().tolist() for name, value in predictor(batch).items()}
    own = model({"text": tf.constant([["a"]]), "x": tf.constant(X)})
    assert after == {name: value.numpy().tolist() for name, value in own.items()}
    assert all(before[name] != after[name] for name in before)


def test_a_model_that_takes_fixed_batches_only_is_traced_for_them() -> None:
    model = keras.Sequential([keras.Input(batch_shape=(2, 3, 4)), layers.LSTM(5, stateful=True)])
    x = np.ones((2, 3, 4), np.float32)
    assert get_predictor(model)(x)["output"].shape == (2, 5)
    fixed = tf.function(lambda x: tf.reshape(x, x.shape.as_list()[::-1]))
    predictor = get_predictor(fixed)
    assert predictor(np.ones((2, 3)))["output"].shape == (3, 2)
    assert predictor(np.ones((4, 3)))["output"].shape == (3, 4)


def test_traces_do_not_keep_a_model_alive() -> None:
    model = Giving(lambda x: x)
    get_predictor(model, forward=lambda model, x: {"y": model(x)})(X)
    get_predictor(model)(X)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_a_model_that_is_to_run_eagerly_does() -> None:
    model = Giving(lambda x: x + np.random.default_rng().integers(9**9))
    first = get_predictor(model)
    assert np.array_equal(first(X)["output"], first(X)["output"])
    model.compile(run_eagerly=True)
    assert not np.array_equal(first(X)["output"], first(X)["output"])


# --- is_training ---------------------------------------------------------------------------------


class Branching(keras.Model):
    def call(self, x: Any) -> Any:
        return x + self.bias if is_training() else -x


def test_is_training_is_right_in_both_traces() -> None:
    model = Branching()
    model.bias = model.add_weight(shape=(), initializer="zeros")
    train = tf.function(lambda x: model(x, training=True))
    assert train(X).numpy().tolist() == [[1, 1]]
    assert get_predictor(model)(X)["output"].numpy().tolist() == [[-1, -1]]
    assert get_predictor(model)(X)["output"].numpy().tolist() == [[-1, -1]]
    assert train(X).numpy().tolist() == [[1, 1]]
    assert is_training()


def test_is_training_is_right_where_the_examination_comes_first() -> None:
    model = Branching()
    model.bias = model.add_weight(shape=(), initializer="zeros")
    assert get_predictor(model)(X)["output"].numpy().tolist() == [[-1, -1]]
    model.compile(loss="mae", optimizer="sgd")
    assert model.train_on_batch(X, 3 * X) == 2


def test_no_gradient_flows_through_outputs() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    predictor = get_predictor(model)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(X)) + tf.reduce_sum(predictor(X)["output"])
    kernel, _ = tape.gradient(loss, model.trainable_variables)
    assert kernel.numpy().tolist() == [[1], [1]]
