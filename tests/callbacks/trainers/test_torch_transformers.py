"""Callbacks in the `Trainer` of transformers."""

import dataclasses
import gc
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

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


@pytest.fixture(scope="module", autouse=True)
def little_garbage() -> Iterator[None]:
    """Spare a `Trainer`, which collects garbage at each start, all that is there for good."""
    gc.freeze()
    yield
    gc.unfreeze()


class Model(nn.Module):
    """The net with its loss, as a `Trainer` takes it."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.net = plan.net()
        self.plan = plan

    def forward(self, image: Tensor, label: Tensor | None = None) -> dict[str, Tensor]:
        output = self.net(image)
        return {"output": output} if label is None else {"loss": self.plan.loss(output, label)}


def host(plan: Plan, *callbacks: Any, kind: Any = transformers.Trainer, **options: Any) -> Any:
    """A quiet `Trainer` on the CPU, that takes the batches of the plan."""

    class Host(kind):
        def get_train_dataloader(self) -> Any:
            return self.accelerator.prepare(plan.loader())

    chosen = {"eval_strategy": "no", "save_strategy": "no", "lr_scheduler_type": "constant"}
    quiet = {"report_to": "none", "disable_tqdm": True, "log_level": "error", "use_cpu": True}
    arguments = {**chosen, **quiet, "max_grad_norm": 0.0, "label_names": ["label"], **options}
    model = Model(plan)
    trainer = Host(
        model,
        transformers.TrainingArguments(
            output_dir=str(plan.folder),
            num_train_epochs=plan.epochs,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=plan.accumulate,
            remove_unused_columns=False,
            **arguments,
        ),
        train_dataset=plan.data(),
        eval_dataset=[],
        callbacks=list(callbacks),
        optimizers=(plan.optimizer(model), None),
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


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


BEST: dict[str, Any] = {"eval_strategy": "steps", "metric_for_best_model": METRIC}


class Steps(mp.Callback):
    """Publishes the step as the metric, or what a function makes of it; None: it fails."""

    name = "validation"

    def __init__(self, every: Any = "1 epoch", value: Any = float) -> None:
        self.every = every
        self.value = value

    def trigger(self) -> None:
        trainer = self.trainer
        value = self.value(trainer.step)
        if value is not None:
            where = {"step": trainer.step, "epoch": trainer.epoch, "scalars": {METRIC: value}}
            trainer.publish(mp.Record(runner=self.name, **where), trainer.model.state_dict)


class Handed(transformers.TrainerCallback):
    """Notes the metric that each evaluation of the `Trainer` is handed, and the end."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int, float | None]] = []
        self.ends = 0

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> None:
        self.metrics.append((state.global_step, metrics.get(f"eval_{METRIC}")))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ends += 1


def fails(*args: Any, **kwargs: Any) -> None:
    msg = "it broke"
    raise ValueError(msg)


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


def test_a_failed_evaluation_is_never_the_best(tmp_path: Path) -> None:
    handed = Handed()
    ours = mp.trainers.transformers(Steps("3 steps", lambda step: None if step == 3 else step))
    trainer = host(Plan(folder=tmp_path, epochs=1), ours, handed, **BEST, eval_steps=3)
    trainer.train()
    assert math.isnan(handed.metrics[0][1] or 0.0)
    assert (handed.metrics[1:], trainer.state.best_metric) == ([(6, 6.0)], 6.0)


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


def test_a_checkpoint_of_the_last_step_of_an_epoch_still_has_its_end_to_come(
    tmp_path: Path,
) -> None:
    options = {"save_strategy": "steps", "save_steps": 6}
    plan = Plan(folder=tmp_path, epochs=2)
    host(plan, mp.trainers.transformers(Watch("1 epoch")), **options).train()
    watch = Watch("1 epoch")
    ours = mp.trainers.transformers(watch)
    host(plan, ours, **options).train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert watch.triggers == [(6, 1), (12, 2)]
    resumed = ["setup", "before_train", "after_epoch"]
    assert watch.hooks == [*resumed, "before_epoch", "after_epoch", "after_train"]
    assert (ours.step, ours.epoch) == (12, 2)


def test_a_checkpoint_without_our_state_gives_the_counts(tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 4}
    plan = Plan(folder=tmp_path, epochs=2)
    host(plan, **options).train()
    watch = Watch("4 steps")
    trainer = host(plan, mp.trainers.transformers(watch), **options)
    with pytest.warns(
        UserWarning, match=r"milepost.pt' is not there: the callbacks .* start afresh"
    ):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert watch.triggers == [(12, 1)]


def test_callbacks_whose_states_the_trainer_restores_leave_ours_alone(tmp_path: Path) -> None:
    plan = Plan(folder=tmp_path)
    options = {**BEST, "eval_steps": 6, "save_strategy": "steps", "save_steps": 6}

    def hosted(**more: Any) -> tuple[Any, Any]:
        ours = mp.trainers.transformers(Steps(value=lambda step: 0.5))
        stop = transformers.EarlyStoppingCallback(2)
        return ours, host(plan, stop, ours, **options, **more)

    hosted()[1].train()
    ours, trainer = hosted(restore_callback_states_from_checkpoint=True)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-12"))
    assert ours.step == 18  # one evaluation more is the second without an improvement
    assert ours.monitors.get_history(METRIC) == [(18, 0.5)]


def test_a_second_training_goes_on_with_the_counts(tmp_path: Path) -> None:
    watch = Watch("4 steps")
    ours = mp.trainers.transformers(watch)
    trainer = host(Plan(folder=tmp_path, epochs=1), ours)
    for _ in range(2):
        trainer.train()
    assert [step for step, _ in watch.triggers] == [4, 8, 12]
    assert (ours.step, ours.epoch) == (12, 2)


def test_an_epoch_that_is_cut_short_counts_where_the_trainer_ends_it(tmp_path: Path) -> None:
    watch = Watch("1 epoch")
    ours = mp.trainers.transformers(watch)
    host(Plan(folder=tmp_path), ours, max_steps=8).train()
    assert watch.triggers == [(6, 1), (8, 2)]


def test_evaluations_and_predictions_outside_the_training_are_none_of_ours(tmp_path: Path) -> None:
    watch = Watch()
    trainer = host(Plan(folder=tmp_path, epochs=1), mp.trainers.transformers(Steps(), watch))
    for _ in range(2):
        assert METRIC not in str(trainer.evaluate())
        trainer.predict([{"image": torch.zeros(4)}])
        trainer.train()
    assert len(watch.triggers) == 12
    assert watch.hooks.count("after_train") == 2


@pytest.mark.parametrize("hook", ["on_step_begin", "on_evaluate", "on_save", "on_epoch_end"])
def test_an_error_of_another_callback_ends_the_training_at_once(hook: str, tmp_path: Path) -> None:
    watch, other = Watch(), transformers.TrainerCallback()
    setattr(other, hook, fails)
    often = {"eval_strategy": "epoch", "save_strategy": "epoch"}
    trainer = host(Plan(folder=tmp_path), other, **often)
    trainer.add_callback(mp.trainers.transformers(watch))
    with pytest.raises(ValueError, match=r"^it broke$") as caught:
        trainer.train()
    assert watch.errors == [caught.value]
    assert watch.hooks[-1] == "after_train"


def test_any_other_error_ends_the_training_when_it_is_let_go(tmp_path: Path) -> None:
    watch = Watch()
    trainer = host(Plan(folder=tmp_path), mp.trainers.transformers(watch))
    trainer.store_flos = fails
    with pytest.raises(ValueError, match="it broke"):
        trainer.train()
    assert watch.hooks[-1] == "after_train"
    assert len(watch.errors) == 1


def test_a_second_training_ends_a_first_whose_error_is_still_held(tmp_path: Path) -> None:
    watch = Watch()
    trainer = host(Plan(folder=tmp_path), mp.trainers.transformers(watch))
    trainer.store_flos = fails
    with pytest.raises(ValueError, match="it broke") as caught:
        trainer.train()
    del trainer.store_flos
    trainer.train()
    assert [str(error) for error in watch.errors] == ["another training began"]
    assert watch.hooks.count("after_train") == 2
    del caught
    assert watch.hooks.count("after_train") == 2


def test_the_trainer_is_given_back_as_it_was(tmp_path: Path) -> None:
    ours = mp.trainers.transformers(Steps())
    trainer = host(Plan(folder=tmp_path, epochs=1), ours, **BEST, eval_steps=3)
    step = trainer.training_step = MethodType(type(trainer).training_step, trainer)
    before = set(vars(trainer)), set(vars(trainer.callback_handler))
    trainer.train()
    after = set(vars(trainer)), set(vars(trainer.callback_handler))
    assert not {"_run_epoch", "evaluate", "_load_best_model", "call_event"} & {*after[0], *after[1]}
    assert after[1] == before[1]
    assert trainer.training_step is step


def test_a_trainer_takes_all_callbacks_in_one(tmp_path: Path) -> None:
    trainers = mp.trainers.transformers(), mp.trainers.transformers()
    with pytest.raises(ValueError, match="one") as caught:
        host(Plan(folder=tmp_path), *trainers).train()
    assert str(caught.value) == (
        "a Trainer may have one `mp.trainers.transformers`; give it all callbacks"
    )


def test_hooks_that_no_trainer_calls_say_what_to_use() -> None:
    state, control = transformers.TrainerState(), transformers.TrainerControl()
    with pytest.raises(RuntimeError) as caught:
        mp.trainers.transformers().on_train_begin(None, state, control)
    assert str(caught.value) == (
        "no `transformers.Trainer` calls; in a loop of your own use `milepost.Loop`"
    )
