"""A `train` of transformers that is resumed, cut short, begun again, or ended by an error."""

from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
import transformers

import milepost as mp
from tests.callbacks.trainers.contract import METRIC, Plan, Watch
from tests.callbacks.trainers.transformers_models import BEST, Steps, fails, host, little_garbage

__all__ = ["little_garbage"]


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
