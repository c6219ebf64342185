"""Callbacks in `model.fit`: when they run, and what Keras sees of them."""

import json
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

from milepost.callbacks import Callback, EarlyStop, Record, at_end, at_start, trainers
from milepost.callbacks.monitors import JsonLines
from tests.callbacks.trainers.keras_models import Logs, Measure, Watch, compiled, fit, x, y

METRIC = "validation/hit_rate@1"


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def batches(*, counted: bool) -> Any:
    """Return the training set as a pipeline of batches, whose number is known or not."""
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    return dataset if counted else dataset.filter(lambda x, y: True)


def test_each_hook_runs_at_its_moment() -> None:
    watch = Watch()
    fit(compiled(), trainers.keras(watch), epochs=2)
    epochs = ["before_epoch", "after_epoch"] * 2
    assert watch.hooks == ["setup", "before_train", *epochs, "after_train"]
    assert watch.triggers == [(step, step // 13) for step in range(1, 25)]


def test_what_keras_measures_in_an_epoch_is_logged() -> None:
    records: list[Record] = []
    trainer = trainers.keras(monitors=[records.append])
    history = fit(compiled(), trainer, epochs=2, validation_data=(x, y)).history
    assert [(record.step, record.epoch) for record in records] == [(12, 1), (24, 2)]
    for epoch, record in enumerate(records):
        loss, val_loss = history["loss"][epoch], history["val_loss"][epoch]
        assert record.scalars == {"train/loss": loss, "val/loss": val_loss}


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_steps_of_one_execution_fire_once_at_its_end(counted: bool) -> None:
    watch = Watch("3 steps")
    data = {"x": batches(counted=counted), "y": None, "batch_size": None}
    fit(compiled(steps_per_execution=5), trainers.keras(watch), epochs=2, **data)
    assert watch.triggers == [(5, 0), (10, 0), (12, 0), (17, 1), (22, 1), (24, 1)]


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("kind", ["accumulates", "scales"])
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_steps_are_batches_also_where_the_optimizer_counts_otherwise(
    counted: bool, kind: str
) -> None:
    optimizer = keras.optimizers.SGD(
        gradient_accumulation_steps=4 if kind == "accumulates" else None
    )
    if kind == "scales":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0)
    model, watch = compiled(), Watch("3 steps")
    model.compile(optimizer, "mse", steps_per_execution=5)
    data = {"x": batches(counted=counted), "y": None, "batch_size": None}
    fit(model, trainers.keras(watch), epochs=2, **data)
    assert watch.triggers == [(5, 0), (10, 0), (12, 0), (17, 1), (22, 1), (24, 1)]


def test_steps_are_batches_that_were_trained_on_also_beyond_the_epoch_of_keras() -> None:
    trainer = trainers.keras()
    data = {"x": batches(counted=True).repeat(), "y": None, "batch_size": None}
    model = compiled(steps_per_execution=5)
    fit(model, trainer, **data, steps_per_epoch=12)
    assert trainer.step == int(model.optimizer.iterations) == 15


def test_a_model_without_updates_counts_its_batches() -> None:
    class Fixed(keras.Sequential):
        def train_step(self, data: Any) -> Any:
            return {"loss": 0.0}

    trainer = trainers.keras()
    fit(compiled(Fixed, steps_per_execution=5), trainer)
    assert trainer.step == 15  # as far as Keras tells


def test_the_counts_and_the_clock_go_on_in_a_second_fit() -> None:
    clock = Clock()

    class Tick(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            clock.now_s += 1.0

    watch = Watch("1 epoch")
    trainer = trainers.keras(watch, clock=clock)
    model = compiled()
    fit(model, trainer, Tick(), epochs=2)
    clock.now_s += 50.0
    fit(model, trainer, Tick())
    assert watch.triggers == [(12, 1), (24, 2), (36, 3)]
    assert (trainer.step, trainer.epoch, trainer.elapsed_s) == (36, 3, 36.0)


def test_a_training_that_goes_on_at_a_later_epoch_starts_there() -> None:
    start, odd = Watch(at_start), Watch("2 epochs")
    fit(compiled(), trainers.keras(start, odd), initial_epoch=3, epochs=6)
    assert start.triggers == [(0, 3)]
    assert odd.triggers == [(12, 4), (36, 6)]


def test_a_state_goes_on_where_it_was_taken() -> None:
    trainer = trainers.keras(Watch("2 epochs"))
    fit(compiled(), trainer, epochs=1)
    watch = Watch("2 epochs")
    again = trainers.keras(watch)
    again.load_state_dict(json.loads(json.dumps(trainer.state_dict())))
    fit(compiled(), again, initial_epoch=1, epochs=3)
    assert watch.triggers == [(24, 2)]
    assert (again.step, again.epoch) == (36, 3)


def test_start_and_end_are_moments_too() -> None:
    start, end, both = Watch(at_start), Watch(at_end), Watch(at_start | "1 epoch" | at_end)
    fit(compiled(), trainers.keras(start, end, both))
    assert start.triggers == [(0, 0)]
    assert end.triggers == [(12, 1)]
    assert both.triggers == [(0, 0), (12, 1)]


def test_time_and_share_of_time_are_schedules() -> None:
    clock = Clock()

    class Slow(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            clock.now_s += 30.0

    class Costly(Watch):
        def trigger(self) -> None:
            super().trigger()
            clock.now_s += 30.0

    minutes, share = Watch("2 min"), Costly("10%")
    fit(compiled(), Slow(), trainers.keras(minutes, clock=clock), epochs=1)
    assert [step for step, _ in minutes.triggers] == [4, 8, 12]
    trainer = trainers.keras(share, clock=clock)
    fit(compiled(), Slow(), trainer, epochs=4)
    assert len(share.triggers) > 1
    assert len(share.triggers) * 30.0 <= 0.1 * trainer.elapsed_s


def test_a_lone_callback_needs_no_list() -> None:
    watch = Watch("1 epoch")
    compiled().fit(x, y, verbose=0, callbacks=trainers.keras(watch))
    assert watch.triggers == [(1, 1)]


def test_the_validation_of_fit_is_no_training() -> None:
    watch = Watch()
    trainer = trainers.keras(watch)
    model = compiled()
    fit(model, trainer, validation_data=(x, y), validation_batch_size=2)
    model.evaluate(x, y, verbose=0, callbacks=[trainer])
    model.predict(x, verbose=0, callbacks=[trainer])
    assert len(watch.triggers) == 12
    assert watch.ends == 1


def test_what_was_measured_is_in_the_logs_of_its_epoch_and_its_batch() -> None:
    logs = Logs()
    history = fit(compiled(), trainers.keras(Measure(every="8 steps")), logs, epochs=3)
    assert [METRIC in batch for batch in logs.batches] == [step % 8 == 0 for step in range(1, 37)]
    assert logs.batches[7][METRIC] == 8.0
    assert [epoch[METRIC] for epoch in logs.epochs] == [8.0, 24.0, 32.0]
    assert history.history[METRIC] == [8.0, 24.0, 32.0]
    assert len(history.history["loss"]) == 3


def test_what_was_measured_at_the_end_of_an_epoch_is_in_its_logs() -> None:
    logs = Logs()
    schedule = at_start | "2 epochs" | at_end
    history = fit(compiled(), trainers.keras(Measure(every=schedule)), logs, epochs=3)
    assert [epoch.get(METRIC) for epoch in logs.epochs] == [0.0, 24.0, None]
    assert logs.end[METRIC] == 36.0
    assert history.history[METRIC] == [0.0, 24.0]


def test_early_stopping_of_keras_acts_on_our_metrics() -> None:
    stop = keras.callbacks.EarlyStopping(METRIC, mode="max", patience=2)
    values = {12: 0.5, 24: 0.75, 36: 0.7, 48: 0.6, 60: 0.9}
    history = fit(compiled(), trainers.keras(Measure(values.__getitem__)), stop, epochs=5)
    assert history.history[METRIC] == [0.5, 0.75, 0.7, 0.6]


def test_a_checkpoint_of_keras_keeps_the_best_of_our_metrics(tmp_path: Path) -> None:
    path = str(tmp_path / "{epoch}.keras")
    keep = keras.callbacks.ModelCheckpoint(path, monitor=METRIC, mode="max", save_best_only=True)
    values = {12: 0.5, 24: 0.25, 36: 0.75, 48: 0.75}
    fit(compiled(), trainers.keras(Measure(values.__getitem__)), keep, epochs=4)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["1.keras", "3.keras"]


def test_a_stop_ends_the_training_after_its_step() -> None:
    class Stop(Callback):
        every = "5 steps"

        def trigger(self) -> None:
            self.trainer.request_stop("enough")

    watch = Watch()
    trainer = trainers.keras(watch, Stop())
    fit(compiled(), trainer, epochs=3)
    assert (trainer.step, trainer.epoch, trainer.stop_reason) == (5, 1, "enough")
    assert watch.ends == 1


def test_our_early_stop_works_as_in_any_training() -> None:
    trainer = trainers.keras(Measure(lambda step: 0.5), EarlyStop(METRIC, patience=2))
    fit(compiled(), trainer, epochs=9)
    assert trainer.epoch == 3


def test_a_rundir_gets_files_and_the_terminal_is_left_to_keras(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = trainers.keras(Measure(), rundir=tmp_path / "run")
    model = compiled()
    fit(model, trainer, epochs=2)
    fit(model, trainer)
    assert capsys.readouterr().out == ""
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    measured = [json.loads(line).get(METRIC) for line in lines]
    assert measured == [None, 12.0, None, 24.0, None, 36.0]
    assert any(path.name.startswith("events.") for path in (tmp_path / "run").iterdir())
    assert trainer.monitors.get_history(METRIC) == [(12, 12.0), (24, 24.0), (36, 36.0)]


def test_a_folder_that_holds_a_run_is_refused_before_the_training(tmp_path: Path) -> None:
    JsonLines(tmp_path / "metrics.jsonl").path.write_text("{}\n")
    watch = Watch()
    with pytest.raises(FileExistsError, match="holds a run already; load its state to go on"):
        fit(compiled(), trainers.keras(watch, rundir=tmp_path))
    assert watch.hooks == []


def test_the_trainer_is_of_use_while_a_training_runs_only() -> None:
    trainer = trainers.keras()
    for use in (lambda: trainer.world, lambda: trainer.log({"a": 1})):
        with pytest.raises(RuntimeError) as caught:
            use()
        assert str(caught.value) == (
            "no training runs; pass this to `model.fit` as one of its callbacks"
        )


def test_a_loop_of_ones_own_may_call_the_hooks() -> None:
    watch = Watch()
    trainer = trainers.keras(watch)
    hooks = keras.callbacks.CallbackList([trainer], model=compiled())
    hooks.on_train_begin()
    hooks.on_epoch_begin(0)
    hooks.on_train_batch_end(0)
    hooks.on_epoch_end(0)
    hooks.on_train_end()
    assert (watch.triggers, watch.ends) == ([(1, 0)], 1)
