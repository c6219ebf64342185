"""What a training with TensorFlow does not notice of an examination."""

import random
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from milepost.errors import TraceError
from milepost.predictors import get_predictor

X = np.ones((1, 2), np.float32)


class Acting(keras.Model):
    """Does something to itself in each forward pass."""

    def __init__(self, act: Callable[[Any], object]) -> None:
        super().__init__()
        self.layer = layers.Dense(2)
        self.calls = self.add_weight(name="calls", initializer="zeros", trainable=False)
        self.plain = tf.Variable(0.0, name="plain")
        self.noise = keras.random.SeedGenerator(1)
        self.cached: Any = None
        self.seen: list[Any] = []
        self.act = act
        self.layer(X)

    def call(self, x: Any) -> Any:
        self.act(self)
        return self.layer(x) + self.calls


def _values(model: Any) -> list[Any]:
    return [variable.numpy().tolist() for variable in [*model.variables, model.plain]]


def test_training_with_examinations_gives_the_same_bits() -> None:
    images = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    labels = images[:, :1] ** 2

    def train(*, examined: bool) -> tuple[Any, Any]:
        keras.utils.set_random_seed(1)
        net = keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(4),
                layers.BatchNormalization(),
                layers.Dropout(0.5, name="drop"),
                layers.GaussianNoise(0.1),
                layers.Dense(1),
            ]
        )
        net.compile(loss="mse", optimizer="adam", metrics=["mae"])

        class Examine(keras.callbacks.Callback):
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                if examined:
                    get_predictor(net, outputs=[0, "drop"], forward=_noisy)(images)
                    get_predictor(net, weights="snapshot")(images)

        history = net.fit(images, labels, 4, epochs=2, verbose=0, callbacks=[Examine()])
        variables = [*net.variables, *net.optimizer.variables, *net.metrics_variables]
        return history.history, [variable.numpy().tobytes() for variable in variables]

    assert train(examined=False) == train(examined=True)


def _noisy(model: Any, batch: Any) -> dict[str, Any]:
    random.random()
    np.random.rand()
    noise = keras.random.normal((1,)) + tf.random.normal((1,)) + keras.random.uniform((1,), seed=3)
    return {"output": model(batch, training=False), "noise": noise}


@pytest.mark.parametrize(
    "draw",
    [
        random.random,
        lambda: float(np.random.rand()),
        lambda: float(tf.random.uniform(())),
        lambda: float(keras.random.uniform(())),
        lambda: float(tf.random.get_global_generator().uniform(())),
    ],
)
@pytest.mark.parametrize("eager", [True, False])
def test_a_global_generator_goes_on_as_if_nothing_was_drawn(
    draw: Callable[[], float], eager: bool
) -> None:
    def act(_: Any) -> None:
        random.random()
        np.random.rand()
        tf.random.uniform(())
        keras.random.uniform(())
        tf.random.get_global_generator().uniform(())

    model = Acting(act)
    model.run_eagerly = eager
    keras.utils.set_random_seed(3)
    tf.random.set_global_generator(tf.random.Generator.from_seed(1))
    keras.random.uniform(())

    def reseed() -> None:
        keras.utils.set_random_seed(3)
        tf.random.get_global_generator().reset_from_seed(1)
        draw()

    reseed()
    expected = draw()
    reseed()
    get_predictor(model)(X)
    assert draw() == expected


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize(
    "act",
    [
        lambda model: model.calls.assign_add(1.0),
        lambda model: model.plain.assign_add(1.0),
        lambda model: model.noise.next(),
        lambda model: [model.calls.assign(float("nan")), model.calls.assign_add(1.0)],
    ],
)
def test_variables_that_a_forward_pass_writes_are_given_back(act: Any, eager: bool) -> None:
    model = Acting(act)
    model.run_eagerly = eager
    before = _values(model)
    predictor = get_predictor(model)
    predictor(X)
    predictor(X)
    assert _values(model) == before


@pytest.mark.parametrize("eager", [True, False])
def test_attributes_that_a_forward_pass_changes_are_given_back(eager: bool) -> None:
    def act(model: Any) -> None:
        model.cached = model.calls + 1
        model.seen.append(1)
        model.layer.units = 7
        model.new = 3
        model.add_loss(tf.zeros(()))

    model = Acting(act)
    model.run_eagerly = eager
    attributes = set(vars(model))
    model.cached = "before"
    predictor = get_predictor(model)
    predictor(X)
    assert (model.cached, model.seen, model.layer.units) == ("before", [], 2)
    assert set(vars(model)) == attributes
    assert model.losses == []


def test_losses_of_a_pending_step_are_kept() -> None:
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(1, activity_regularizer=keras.regularizers.L2(1.0))]
    )
    with tf.GradientTape() as tape:
        model(X, training=True)
        get_predictor(model)(X)
        loss = tf.add_n(model.losses)
    assert tape.gradient(loss, model.trainable_variables)[0] is not None


def test_a_state_carried_from_batch_to_batch_is_given_back() -> None:
    model = keras.Sequential([keras.Input(batch_shape=(1, 3, 2)), layers.LSTM(2, stateful=True)])
    x = np.ones((1, 3, 2), np.float32)
    model(x)
    states = [state.numpy().tolist() for state in model.layers[0].states]
    for predictor in (get_predictor(model), get_predictor(model, weights="snapshot")):
        with predictor.scope():
            first, second = (predictor.forward(x)["output"].numpy() for _ in range(2))
        assert not np.array_equal(first, second)
        assert np.array_equal(predictor(x)["output"], first)
        assert [state.numpy().tolist() for state in model.layers[0].states] == states


def test_names_of_layers_go_on_as_if_nothing_was_traced() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1, name="one"), layers.ReLU()])
    first = int(layers.Dense(1).name.rsplit("_", 1)[-1])
    get_predictor(model, outputs="one", weights="snapshot")(X)
    assert layers.Dense(1).name == f"dense_{first + 1}"


def test_scopes_nest() -> None:
    model = Acting(lambda model: model.calls.assign_add(1.0))
    predictor = get_predictor(model)
    with predictor.scope():
        predictor.forward(X)
        with predictor.scope():
            predictor.forward(X)
            assert model.calls.numpy() == 2
        assert model.calls.numpy() == 1
        predictor(X)
    assert model.calls.numpy() == 0


@pytest.mark.parametrize("eager", [True, False])
def test_everything_is_given_back_when_the_forward_pass_fails(eager: bool) -> None:
    def fail(model: Acting) -> None:
        model.calls.assign_add(1.0)
        model.cached = 3
        random.random()
        raise ZeroDivisionError

    model = Acting(fail)
    model.run_eagerly = eager
    state = random.getstate()
    with pytest.raises(ZeroDivisionError):
        get_predictor(model, outputs="layer")(X)
    assert (model.calls.numpy(), model.cached) == (0, None)
    assert random.getstate() == state
    assert "call" not in vars(model.layer)


class OfParts(keras.Model):
    def __init__(self, *parts: Any) -> None:
        super().__init__()
        self.parts = parts

    def call(self, x: Any) -> Any:
        for part in self.parts:
            x = part(x)
        return x


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: keras.Sequential([layers.Dense(2, name="last")]), "last"),
        (lambda: layers.Dense(2), "kernel"),
        *(
            pytest.param(make, name, marks=pytest.mark.slow)
            for make, name in (
                (lambda: OfParts(layers.Dense(2, name="last")), "last"),
                (lambda: OfParts(OfParts(layers.Dense(2))), "of_parts"),
                (lambda: OfParts(keras.Sequential([layers.Dense(2)], name="last")), "last"),
                (lambda: OfParts(lambda x: layers.Dense(2)(x)), "kernel"),
            )
        ),
    ],
)
@pytest.mark.parametrize("eager", [False, True])
def test_a_model_that_is_not_built_yet_is_an_error_and_stays_so(
    make: Any, name: str, eager: bool
) -> None:
    keras.utils.clear_session()
    model = make()
    model.run_eagerly = eager
    for _ in range(2):
        with pytest.raises(ValueError, match="not built") as raised:
            get_predictor(model)(X)
    expected = f"the model is not built yet: its forward pass would make {name!r}; call it once"
    assert expected in str(raised.value)
    assert model.variables == []
    assert not model.built
    if name != "kernel" or not isinstance(model, OfParts):
        assert np.array_equal(model(X), get_predictor(model)(X)["output"])


def test_a_model_of_built_layers_needs_no_call_of_its_own() -> None:
    layer = layers.Dense(2)
    assert np.array_equal(layer(X), get_predictor(OfParts(layer))(X)["output"])


# --- trace_check ---------------------------------------------------------------------------------


def test_trace_check_names_what_changed_and_still_restores_the_variables() -> None:
    def change(model: Acting) -> None:
        model.layer.kernel.assign_add([[1.0, 1.0], [1.0, 1.0]])
        model.calls.assign_add(1.0)

    model = Acting(change)
    before = _values(model)
    predictor = get_predictor(model)
    with pytest.raises(TraceError) as raised, predictor.scope(trace_check=True):
        predictor.forward(X)
    assert str(raised.value) == (
        "the evaluation changed 'layer.kernel', 'calls'; "
        "buffers were restored, parameters that were changed in place were not"
    )
    assert _values(model) == before


def test_trace_check_is_silent_where_nothing_changed() -> None:
    predictor = get_predictor(Acting(lambda model: model.noise.next()))
    with predictor.scope(trace_check=True):
        predictor.forward(X)


def test_trace_check_does_not_hide_the_error_of_the_body() -> None:
    predictor = get_predictor(Acting(lambda model: model.calls.assign_add(1.0)))

    def examine() -> None:
        with predictor.scope(trace_check=True):
            predictor.forward(X)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        examine()


def test_buffers_lent_for_a_scope_are_used_in_it_and_given_back() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.BatchNormalization(name="norm")])
    predictor = get_predictor(model)
    lent = {"norm.moving_mean": tf.constant([1.0, 1.0])}
    with predictor.scope(buffers=lent):
        assert predictor.forward(X)["output"].numpy().tolist() == [[0, 0]]
    assert predictor.buffers()["norm.moving_mean"].numpy().tolist() == [0, 0]
    assert list(predictor.buffers()) == ["norm.moving_mean", "norm.moving_variance"]


def test_lent_buffers_of_another_shape_are_an_error() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.BatchNormalization(name="norm")])
    scope = get_predictor(model).scope(buffers={"norm.moving_mean": tf.zeros(3)})
    with pytest.raises(ValueError, match="same on all ranks") as raised, scope:
        pass
    assert str(raised.value) == (
        "the model must be the same on all ranks, but its buffer 'norm.moving_mean' is "
        "(2,) here, (3,) on the chief"
    )
