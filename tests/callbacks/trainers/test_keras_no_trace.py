"""Evaluations leave no trace in a `fit`, nor in a loop around a `tf.function`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from milepost.callbacks import Callback, KeepBest, Loop, at_end, at_start, trainers
from milepost.inferencers import ClassificationError, Inferencer, Retrieval, ScalarStats
from milepost.runners import InferenceRunner
from tests.callbacks.trainers.keras_models import Logs

METRIC = "validation/hit_rate@1"
generator = np.random.default_rng(0)
images = generator.normal(size=(48, 4)).astype(np.float32)
labels = generator.integers(0, 3, 48)
held_out = {"image": images[:10] + 0.1, "label": labels[:10]}


def network() -> Any:
    """Return a model with statistics, random layers and a named inner layer; the same each time."""
    keras.utils.set_random_seed(0)
    image = keras.Input((4,), name="image")
    hidden = layers.BatchNormalization()(layers.Dense(8, activation="relu")(image))
    embedding = layers.Dense(3, name="embedding")(layers.Dropout(0.5)(hidden))
    logits = layers.Dense(3, name="logits")(layers.GaussianNoise(0.1)(embedding))
    return keras.Model(image, logits)


def compiled(**options: Any) -> Any:
    model = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"], **options)
    return model


def training_set() -> Any:
    """Return 12 batches of four, in another order each time."""
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    return dataset.shuffle(48, seed=3).batch(4)


def runner(data: Any = None, **options: Any) -> InferenceRunner:
    inferencers: list[Inferencer] = [
        Retrieval(embeddings="embedding", labels="label", k=(1,)),
        ClassificationError(logits="logits", labels="label", k=(1,)),
    ]
    fields = ("image", "label")
    arguments = {"every": "3 steps", "fields": fields, "batch_size": 4, **options}
    return InferenceRunner(held_out if data is None else data, inferencers, **arguments)


def state_of(model: Any) -> dict[str, Any]:
    """Return every variable: weights, statistics, seeds, metrics, optimizer slots, in order."""
    variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    return numbered(variables)


def numbered(variables: Any) -> dict[str, Any]:
    """Return values by position: names count the models that were made before."""
    return {str(i): np.array(variable.numpy()) for i, variable in enumerate(variables)}


def assert_equal(state: dict[str, Any], other: dict[str, Any]) -> None:
    assert state.keys() == other.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def nothing(data: Any) -> list[Callback]:
    return []


def trained(
    callbacks: Callable[[Any], list[Callback]] = nothing, **options: Any
) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """Return the final state, and the logs of Keras of each batch and epoch without ours."""
    model, logs, data = compiled(**options), Logs(), training_set()
    trainer = trainers.keras(*callbacks(data))
    model.fit(data, epochs=3, verbose=0, shuffle=False, callbacks=[trainer, logs])
    own = [[_without_ours(each) for each in part] for part in (logs.batches, logs.epochs)]
    return state_of(model), own[0], own[1]


def _without_ours(logs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in logs.items() if "/" not in name}


def fit(model: Any, *callbacks: Any, **options: Any) -> Any:
    arguments = {"verbose": 0, "shuffle": False, **options}
    return model.fit(training_set(), callbacks=list(callbacks), **arguments)


def rates(runs: Any) -> list[int]:
    return [step for step, _ in runs.monitors.get_history(METRIC)]


@pytest.mark.parametrize("steps_per_execution", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_evaluations_change_no_digit_of_a_fit(steps_per_execution: int) -> None:
    plain = trained(steps_per_execution=steps_per_execution)
    examined = trained(
        lambda data: [
            runner(trace_check=True, every=at_start | "3 steps" | at_end),
            runner(data, name="train", every="5 steps"),
        ],
        steps_per_execution=steps_per_execution,
    )
    assert_equal(plain[0], examined[0])
    assert plain[1:] == examined[1:]
    assert set(plain[2][0]) == {"loss", "accuracy"}


@pytest.mark.slow
def test_a_failed_evaluation_changes_no_digit_either() -> None:
    def broken(model: Any, batch: Any) -> Any:
        model(batch["image"], training=True)
        msg = "no such layer"
        raise KeyError(msg)

    plain = trained()
    with pytest.warns(RuntimeWarning, match="the training goes on: KeyError"):
        failed = trained(lambda data: [runner(forward=broken, on_error="warn")])
    assert_equal(plain[0], failed[0])
    assert plain[1:] == failed[1:]


def test_steps_of_one_execution_are_evaluated_once() -> None:
    trainer = trainers.keras(runner())
    compiled(steps_per_execution=5).fit(
        training_set(), verbose=0, shuffle=False, callbacks=[trainer]
    )
    assert rates(trainer) == [5, 10, 12]


def test_callbacks_of_keras_act_on_what_a_runner_measures(tmp_path: Path) -> None:
    trainer = trainers.keras(runner(every="1 epoch"))
    stop = keras.callbacks.EarlyStopping(METRIC, mode="max", patience=1, min_delta=2.0)
    path = tmp_path / "best.keras"
    keep = keras.callbacks.ModelCheckpoint(path, METRIC, mode="max", save_best_only=True)
    model = compiled()
    history = model.fit(
        training_set(), epochs=9, verbose=0, shuffle=False, callbacks=[trainer, stop, keep]
    )
    measured = [value for _, value in trainer.monitors.get_history(METRIC)]
    assert history.history[METRIC] == measured
    assert len(measured) == 2
    kept = keras.models.load_model(path)
    again = trainers.keras(runner(every=at_start))
    fit(kept, again, steps_per_epoch=1)
    assert again.monitors.get_latest(METRIC) == max(measured)


def test_the_best_weights_are_those_that_were_examined(tmp_path: Path) -> None:
    model, seen = compiled(), {}

    class Note(Callback):
        def on_metrics(self, record: Any, weights: Callable[[], Any]) -> None:
            seen[record.step] = {name: np.array(x) for name, x in weights().items()}

    best = KeepBest(METRIC, path=tmp_path / "best.safetensors")
    trainer = trainers.keras(runner(), best, Note())
    fit(model, trainer, epochs=2)
    from safetensors.numpy import load_file

    assert best.best_step is not None
    assert_equal(load_file(tmp_path / "best.safetensors"), seen[best.best_step])


@pytest.mark.slow
def test_disable_ends_the_evaluations_and_raise_the_training() -> None:
    def broken(model: Any, batch: Any) -> Any:
        msg = "bad"
        raise KeyError(msg)

    trainer = trainers.keras(runner(forward=broken, on_error="disable"))
    with pytest.warns(RuntimeWarning, match="it will not run again") as caught:
        fit(compiled(), trainer)
    assert len(caught) == 1
    assert trainer.step == 12
    trainer = trainers.keras(runner(forward=broken))
    with pytest.raises(KeyError, match="bad"):
        fit(compiled(), trainer)
    assert trainer.step == 3


def in_a_loop(
    callbacks: Callable[[Any], list[Callback]] = nothing,
) -> tuple[dict[str, Any], list[float]]:
    """Train in a loop of one's own, and return the final state and the losses."""
    model, data = network(), training_set()
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    compute = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(image: Any, label: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = compute(label, model(image, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    losses = []
    with Loop(model, callbacks=callbacks(data), monitors=[]) as loop:
        for _ in loop.epochs(2):
            for image, label in loop.steps(data):
                losses.append(float(step(image, label)))
                loop.log({"train/loss": losses[-1]})
    return numbered([*model.variables, *optimizer.variables]), losses


def test_evaluations_change_no_digit_of_a_loop_around_a_function() -> None:
    plain = in_a_loop()
    examined = in_a_loop(lambda data: [runner(trace_check=True), runner(data, name="train")])
    assert_equal(plain[0], examined[0])
    assert plain[1] == examined[1]


def test_a_single_module_of_tensorflow_is_examined_too() -> None:
    class Scale(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = tf.Variable(2.0)

        def __call__(self, x: Any) -> Any:
            return {"double": x * self.scale}

    module = Scale()
    examine = InferenceRunner({"x": np.arange(3.0, dtype=np.float32)}, [ScalarStats("double")])
    with Loop(module, callbacks=[examine], monitors=[]) as loop:
        for _ in loop.epochs(2):
            module.scale.assign_add(1.0)
    assert loop.monitors.get_history("validation/double") == [(0, 3.0), (0, 4.0)]
