"""Callbacks in the `Trainer` of transformers, and what it sees of their metrics."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import transformers

import milepost as mp
from tests.callbacks.trainers.contract import *  # noqa: F403
from tests.callbacks.trainers.contract import (
    METRIC,
    Plan,
    Side,
    Trained,
    Watch,
    assert_equal,
    weights_of,
)
from tests.callbacks.trainers.transformers_models import (
    BEST,
    Handed,
    Steps,
    fails,
    host,
    little_garbage,
)

__all__ = ["little_garbage"]


def train(callbacks: Sequence[mp.Callback], plan: Plan) -> Trained:
    records: list[mp.Record] = []
    ours = mp.trainers.transformers(*callbacks, monitors=[records.append])
    hosts: list[Any] = [ours] if plan.attached else []
    options: dict[str, Any] = {"save_strategy": "epoch"}
    if plan.best or plan.patience:
        options |= {"eval_strategy": "epoch", "metric_for_best_model": METRIC}
        options |= {"load_best_model_at_end": plan.best}
    if plan.patience:
        hosts.insert(0, transformers.EarlyStoppingCallback(plan.patience))
    trainer = host(plan, *hosts, **options)
    trainer.train(resume_from_checkpoint=plan.resume)
    trained = Trained(weights=weights_of(trainer.model), records=records, step=ours.step)
    if plan.best:
        trained = dataclasses.replace(trained, best=weights_of(trainer.model))
    return trained


@pytest.fixture
def side() -> Side:
    return train


def test_what_is_measured_is_in_the_log_of_the_trainer_beside_its_own(tmp_path: Path) -> None:
    ours = mp.trainers.transformers(Steps("4 steps"), rundir=tmp_path / "run")
    backend = Handed()
    seen: list[Any] = []
    backend.on_log = lambda *x, logs, **kwargs: seen.append(dict(logs))
    trainer = host(Plan(folder=tmp_path, epochs=2), backend, ours, logging_steps=4)
    trainer.train()
    history = [{**x, "epoch": None} for x in trainer.state.log_history]
    key = f"eval_{METRIC}"
    assert [(x["step"], x[key]) for x in history if key in x] == [(4, 4.0), (8, 8.0), (12, 12.0)]
    assert [x["step"] for x in history if "loss" in x] == [4, 8, 12]
    assert [x[key] for x in seen if key in x] == [4.0, 8.0, 12.0]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [x["step"] for x in records if METRIC in x] == [4, 8, 12]
    assert [x["train/loss"] for x in records if "train/loss" in x] == [
        x["loss"] for x in history if "loss" in x
    ]


def test_a_backend_that_fails_at_our_metrics_is_a_warning(tmp_path: Path) -> None:
    watch, backend = Watch("1 epoch"), transformers.TrainerCallback()
    backend.on_log = fails
    ours = mp.trainers.transformers(Steps("4 steps"), watch)
    with (
        pytest.warns(RuntimeWarning, match=r"^TransformersLog\(\) failed \(ValueError: it broke\)"),
        pytest.raises(ValueError, match="it broke"),
    ):  # at the end, when its own are logged
        host(Plan(folder=tmp_path, epochs=1), ours, backend).train()
    assert watch.triggers == [(6, 1)]
    assert watch.hooks[-1] == "after_train"


@pytest.mark.slow  # it loads TensorFlow, where that is installed
def test_tensorboard_shows_what_is_measured_beside_what_the_trainer_evaluates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    ours = mp.trainers.transformers(Steps("4 steps"))
    host(Plan(folder=tmp_path, epochs=2), ours, report_to="tensorboard", logging_steps=6).train()
    reader = EventAccumulator(str(tmp_path / "events")).Reload()
    curve = [(event.step, event.value) for event in reader.Scalars(f"eval/{METRIC}")]
    assert curve == [(4, 4.0), (8, 8.0), (12, 12.0)]
    assert [event.step for event in reader.Scalars("train/loss")] == [6, 12]


def test_an_evaluation_is_handed_what_was_measured_at_its_own_step(tmp_path: Path) -> None:
    handed, ours = Handed(), mp.trainers.transformers(Steps("4 steps"))
    host(Plan(folder=tmp_path), handed, ours, eval_strategy="steps", eval_steps=3).train()
    steps = [(step, float(step) if step % 4 == 0 else None) for step in (3, 6, 9, 12, 15, 18)]
    assert handed.metrics == steps


def test_the_metric_of_the_best_model_is_measured_whenever_the_trainer_evaluates(
    tmp_path: Path,
) -> None:
    watch, handed = Watch("1 epoch"), Handed()
    measure = Steps(mp.Every(steps=4) | mp.Every(epochs=1))
    ours = mp.trainers.transformers(measure, watch, rundir=tmp_path / "run")
    host(Plan(folder=tmp_path, epochs=2), handed, ours, **BEST, eval_steps=3).train()
    assert handed.metrics == [(step, float(step)) for step in (3, 6, 9, 12)]
    assert [step for step, _ in ours.monitors.get_history(METRIC)] == [3, 4, 6, 8, 9, 12]
    assert watch.triggers == [(6, 1), (12, 2)]


@pytest.mark.parametrize("strategy", ["steps", "best"])
def test_the_best_model_is_found_without_any_data_of_the_trainers_own(
    strategy: str, tmp_path: Path
) -> None:
    watch = Watch(lambda moment: moment.step == 6)
    ours = mp.trainers.transformers(Steps("at start", lambda step: -abs(step - 6)), watch)
    options = {"save_strategy": strategy, "eval_steps": 3, "save_steps": 3}
    trainer = host(Plan(folder=tmp_path), ours, **BEST, **options, load_best_model_at_end=True)
    trainer.train()
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-6")
    assert_equal(weights_of(trainer.model), watch.weights[0])


def test_a_best_model_at_which_nobody_would_look_is_refused(tmp_path: Path) -> None:
    options = {"save_strategy": "best", "load_best_model_at_end": True}
    ours = mp.trainers.transformers(Steps())
    trainer = host(Plan(folder=tmp_path), ours, metric_for_best_model=METRIC, **options)
    with pytest.raises(ValueError, match="metric_for_best_model") as caught:
        trainer.train()
    assert str(caught.value) == (
        "`metric_for_best_model` 'validation/hit_rate@1' is read when the Trainer evaluates, and "
        "its `eval_strategy` is 'no'; choose another, with `eval_dataset=[]` if it has no data"
    )


def test_the_worst_taken_for_the_best_is_a_warning(tmp_path: Path) -> None:
    ours = mp.trainers.transformers(Steps())
    options = {"eval_strategy": "epoch", "save_strategy": "best"}
    plan = Plan(folder=tmp_path, epochs=1)
    trainer = host(plan, ours, metric_for_best_model="validation/error@1", **options)
    said = "'validation/error@1' is the minimum, but `greater_is_better` is True; say"
    with pytest.warns(UserWarning, match=said), pytest.raises(KeyError, match="error@1"):
        trainer.train()


def test_a_failed_evaluation_is_never_the_best(tmp_path: Path) -> None:
    handed = Handed()
    ours = mp.trainers.transformers(Steps("3 steps", lambda step: None if step == 3 else step))
    trainer = host(Plan(folder=tmp_path, epochs=1), ours, handed, **BEST, eval_steps=3)
    trainer.train()
    assert math.isnan(handed.metrics[0][1] or 0.0)
    assert (handed.metrics[1:], trainer.state.best_metric) == ([(6, 6.0)], 6.0)


def test_a_metric_that_its_runner_does_not_give_is_an_error_at_the_first_evaluation(
    tmp_path: Path,
) -> None:
    ours = mp.trainers.transformers(Steps("1 epoch"))
    options = {**BEST, "metric_for_best_model": "validation/hit_rate@7", "eval_steps": 3}
    with pytest.raises(
        KeyError, match=r"'eval_validation/hit_rate@7'.*'eval_validation/hit_rate@1'"
    ):
        host(Plan(folder=tmp_path), ours, **options).train()


def test_several_data_sets_of_the_trainer_count_one_evaluation_of_ours(tmp_path: Path) -> None:
    stop, handed = transformers.EarlyStoppingCallback(2), Handed()
    ours = mp.trainers.transformers(Steps(value=lambda step: 0.5))
    trainer = host(Plan(folder=tmp_path, epochs=9), stop, handed, ours, **BEST, eval_steps=6)
    trainer.eval_dataset = {"a": [], "b": []}
    trainer.train()
    assert handed.metrics == [(6, 0.5), (6, None), (12, 0.5), (12, None), (18, 0.5), (18, None)]


def test_what_is_due_at_the_end_is_done_before_the_best_weights_are_loaded(tmp_path: Path) -> None:
    end, last = Watch("at end"), Watch("1 epoch")
    ours = mp.trainers.transformers(end, last, Steps(value=lambda step: -step))
    options = {"save_strategy": "steps", "eval_steps": 6, "save_steps": 6}
    trainer = host(Plan(folder=tmp_path), ours, **BEST, **options, load_best_model_at_end=True)
    trainer.train()
    assert end.triggers == [(18, 3)]
    assert_equal(end.weights[0], last.weights[-1])
    assert_equal(weights_of(trainer.model), last.weights[0])
