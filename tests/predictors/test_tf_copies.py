"""Snapshots, averaged weights and replicas of models of TensorFlow."""

import threading
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from milepost.errors import UnknownNameError
from milepost.predictors import Predictor, get_predictor

X = np.ones((4, 2), np.float32)


@pytest.fixture
def model() -> Any:
    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [keras.Input((2,)), layers.Dense(2), layers.BatchNormalization(), layers.Dropout(0.5)]
    )
    net.compile("adam", "mse")
    return net


def _output(predictor: Predictor) -> Any:
    return predictor(X)["output"].numpy().tolist()


def test_a_snapshot_keeps_the_weights_of_its_birth(model: Any) -> None:
    predictor = get_predictor(model, weights="snapshot")
    weights = {name: value.numpy() for name, value in predictor.weights().items()}
    before = _output(predictor)
    model.fit(X, X, epochs=2, verbose=0)
    assert _output(predictor) == before
    assert _output(get_predictor(model)) != before
    assert all(np.array_equal(value, weights[x]) for x, value in predictor.weights().items())


def test_a_snapshot_outlives_what_compile_adds_to_the_model() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    predictor = get_predictor(model, weights="snapshot")
    before = _output(predictor)
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(X, X, verbose=0)
    assert _output(predictor) == _output(predictor.replicate()) == before
    assert _output(get_predictor(model)) != before


def test_a_snapshot_keeps_the_rows_that_a_sparse_step_changes() -> None:
    words = keras.Sequential([keras.Input((1,), dtype="int32"), layers.Embedding(5, 2)])
    words.compile("adam", "mse")
    predictor = get_predictor(words, weights="snapshot")
    before = predictor(np.array([[1]]))["output"].numpy()
    words.fit(np.array([[1]]), np.ones((1, 1, 2)), verbose=0)
    assert np.array_equal(predictor(np.array([[1]]))["output"], before)
    assert not np.array_equal(get_predictor(words)(np.array([[1]]))["output"], before)


@pytest.mark.parametrize("kind", ["live", "copy"])
def test_a_replica_keeps_the_weights_of_its_birth_and_the_options(model: Any, kind: str) -> None:
    predictor = get_predictor(model, outputs=0)
    if kind == "copy":
        predictor = predictor.replicate()
    replica = predictor.replicate("CPU:0")
    before = _output(get_predictor(model))
    model.fit(X, X, verbose=0)
    assert replica.outputs == ("0",)
    assert replica(X)["0"].numpy().tolist() == before


def test_averaged_weights_may_be_a_model_or_a_mapping(model: Any) -> None:
    average = keras.models.clone_model(model)
    by_name = {name: 0 * value for name, value in get_predictor(model).weights().items()}
    of_model = get_predictor(model, weights="ema", ema=average)
    of_mapping = get_predictor(model, weights="ema", ema=by_name)
    assert _output(of_model) == average(X).numpy().tolist()
    assert _output(of_mapping) == [[0, 0]] * 4
    average.set_weights([0 * value for value in average.get_weights()])
    by_name["batch_normalization.beta"] = np.ones(2)
    assert _output(of_model) == [[0, 0]] * 4
    assert _output(of_mapping) == [[1, 1]] * 4
    assert _output(get_predictor(model)) == model(X).numpy().tolist()


def test_an_average_of_a_weight_that_does_not_exist_is_an_error(model: Any) -> None:
    predictor = get_predictor(model, weights="ema", ema={"dense.kernle": np.ones((2, 2))})
    with pytest.raises(UnknownNameError, match=r"^unknown weight 'dense.kernle'; did you mean"):
        predictor(X)


def test_replicas_in_parallel_threads_do_not_disturb_each_other(model: Any) -> None:
    predictor = get_predictor(model, outputs=[0, model.layers[0].name])
    expected = predictor(X)
    replicas = [predictor.replicate() for _ in range(4)]
    results: list[dict[str, Any]] = []

    def predict(replica: Predictor) -> None:
        results.extend(replica.forward(X) for _ in range(9))

    threads = [threading.Thread(target=predict, args=(replica,)) for replica in replicas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 36
    for outputs in results:
        assert all(np.array_equal(outputs[name], expected[name]) for name in expected)


def test_a_snapshot_of_a_model_that_got_other_layers_is_an_error() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    predictor = get_predictor(model, weights="snapshot")
    model.add(layers.Dense(3))
    with pytest.raises(ValueError, match="other layers") as raised:
        predictor(X)
    assert str(raised.value) == (
        "the model was given other layers after its weights were copied; copy again"
    )


def test_a_function_alone_cannot_be_copied() -> None:
    with pytest.raises(ValueError, match=r"tf\.function") as raised:
        get_predictor(tf.function(lambda x: x), weights="snapshot")
    assert str(raised.value) == (
        "the weights of a tf.function cannot be copied, as it does not tell what it uses; "
        "pass the tf.Module or Keras model, with `forward=` if it is not called itself"
    )


class WithFunctions(tf.Module):
    """A module whose parts are functions that were traced in training."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = tf.Variable([2.0, 2.0])
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer([0], [1]), default_value=3
        )
        self.step = tf.function(self._step)

    def _step(self, x: Any) -> Any:
        return x * self.scale

    @tf.function
    def __call__(self, x: Any) -> Any:
        return self.step(x) + tf.cast(self.table.lookup(tf.constant(0)), tf.float32)


def test_a_module_of_functions_and_tables_can_be_copied() -> None:
    module = WithFunctions()
    module(X)
    predictor = get_predictor(module, weights="snapshot")
    module.scale.assign([5.0, 5.0])
    assert _output(predictor) == [[3, 3]] * 4
    assert _output(get_predictor(module)) == [[6, 6]] * 4
    assert list(predictor.weights()) == ["scale"]


def test_names_of_weights_do_not_depend_on_what_was_made_before() -> None:
    def names() -> list[str]:
        image = keras.Input((2,))
        hidden = layers.Dense(2, name="dense_of_mine")(layers.Dense(2)(layers.Dense(2)(image)))
        net = keras.Model(image, keras.Sequential([layers.Dense(2), layers.PReLU()])(hidden))
        return list(get_predictor(net).weights())

    expected = ["dense.kernel", "dense.bias", "dense_1.kernel", "dense_1.bias"]
    expected += ["dense_of_mine.kernel", "dense_of_mine.bias"]
    expected += ["sequential.dense.kernel", "sequential.dense.bias", "sequential.p_re_lu.alpha"]
    assert names() == names() == expected


def test_tied_weights_have_one_name() -> None:
    class Tied(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.one = layers.Dense(2)
            self.two = [self.one, layers.Dense(2)]

        def call(self, x: Any) -> Any:
            return self.two[1](self.one(x))

    model = Tied()
    model(X)
    names = ["one.kernel", "one.bias", "two.1.kernel", "two.1.bias"]
    assert list(get_predictor(model).weights()) == names
