"""How steps and epochs are counted in Lightning's `Trainer.fit`, and what is no training."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import pytorch as lightning
from torch.utils.data import DataLoader, IterableDataset

import milepost as mp
from tests.callbacks.trainers.contract import Measure, Plan, Watch, runner
from tests.callbacks.trainers.lightning_models import (
    Adversaries,
    Module,
    Validated,
    checkpoint,
    fit,
    host,
    kept,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]


def test_lightnings_sanity_check_and_its_other_uses_are_no_training(tmp_path: Path) -> None:
    watch, plan = Watch("1 step | at start"), Plan(folder=tmp_path, epochs=1)
    module = Validated(plan)
    ours = mp.trainers.lightning(watch, monitors=[])
    keep = checkpoint(tmp_path, every_n_train_steps=3, filename="{step}", monitor=None)
    trainer = fit(module, ours, keep, val=True, num_sanity_val_steps=2)
    assert watch.triggers == [(step, 0) for step in range(7)]
    hooks, state = list(watch.hooks), ours.state_dict()
    trainer.validate(module, plan.loader(), verbose=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*was not set, defaulting to `False`")
        trainer.test(module, plan.loader(), tmp_path / "kept" / "3.ckpt", verbose=False)
    trainer.predict(module, plan.loader())
    assert (len(watch.triggers), watch.hooks, ours.state_dict()) == (7, hooks, state)


def test_a_tuner_within_the_training_moves_no_count(tmp_path: Path) -> None:
    class Tunes(lightning.callbacks.LearningRateFinder):
        def on_fit_start(self, trainer: Any, module: Any) -> None: ...

        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            if trainer.current_epoch == 1:
                self.lr_find(trainer, module)

    class Tuned(Module):
        lr = 0.1

    watch = Watch("3 steps | 1 epoch")
    tunes = Tunes(num_training_steps=4, update_attr=False)
    fit(Tuned(Plan(folder=tmp_path, epochs=2)), mp.trainers.lightning(watch), tunes)
    assert watch.triggers == [(3, 0), (6, 0), (9, 1), (12, 1)]


def test_each_update_is_a_step_where_the_module_makes_them_itself(tmp_path: Path) -> None:
    third, epoch = Watch("3 steps"), Watch("1 epoch")
    fit(Adversaries(Plan(folder=tmp_path, epochs=1)), mp.trainers.lightning(third, epoch))
    assert [step for step, _ in third.triggers] == [4, 6, 10, 12]
    assert epoch.triggers == [(12, 1)]


def test_an_epoch_that_is_cut_short_counts_as_lightning_counts_it(tmp_path: Path) -> None:
    class Skips(Module):
        def on_train_batch_start(self, batch: Any, index: int) -> int | None:
            return -1 if index == 4 else None

    limited, skipped = Watch("1 epoch"), Watch("1 epoch")
    plan = Plan(folder=tmp_path)
    fit(Module(plan), mp.trainers.lightning(limited), max_steps=8)
    fit(Skips(plan), mp.trainers.lightning(skipped), max_epochs=2)
    assert limited.triggers == [(6, 1), (8, 2)]
    assert skipped.triggers == [(4, 1), (8, 2)]


def test_a_stream_of_unknown_length_ends_its_epochs_too(tmp_path: Path) -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            data = Plan(folder=tmp_path).data()
            return (data[row] for row in range(len(data)))

    watch, keep = Watch("1 epoch"), checkpoint(tmp_path)
    ours = mp.trainers.lightning(Measure(), watch)
    trainer = host(tmp_path, [ours, keep], max_epochs=2, enable_checkpointing=True)
    trainer.fit(Module(Plan(folder=tmp_path)), DataLoader(Stream(), 4))
    assert watch.triggers == [(6, 1), (12, 2)]
    assert kept(tmp_path) == ["12 0.75", "6 0.50"]


def test_the_counts_and_the_clock_go_on_as_long_as_the_trainer_does(tmp_path: Path) -> None:
    now_s = [0.0]

    class Tick(mp.Callback):
        def after_step(self) -> None:
            now_s[0] += 1.0

    watch, plan = Watch("1 epoch"), Plan(folder=tmp_path, epochs=1)
    ours = mp.trainers.lightning(watch, Tick(), clock=lambda: now_s[0])
    trainer = fit(Module(plan), ours)
    now_s[0] += 50.0
    trainer.fit_loop.max_epochs = 2
    trainer.fit(Module(plan), plan.loader())
    assert watch.triggers == [(6, 1), (12, 2)]
    assert ours.elapsed_s == 12.0
    fit(Module(plan), ours)  # another trainer: another training
    assert watch.triggers[2:] == [(6, 1)]
    assert ours.elapsed_s == 6.0


def test_a_folder_that_holds_a_run_is_refused(tmp_path: Path) -> None:
    plan = Plan(folder=tmp_path, epochs=1)
    fit(Module(plan), mp.trainers.lightning(Measure(), rundir=tmp_path / "run"))
    watch = Watch()
    with pytest.raises(FileExistsError, match="holds a run already; load its state to go on"):
        fit(Module(plan), mp.trainers.lightning(watch, rundir=tmp_path / "run"))
    assert watch.hooks == []


@pytest.mark.parametrize("step", [pytest.param(4, marks=pytest.mark.slow), 6])
def test_a_checkpoint_in_mid_epoch_or_at_its_last_step_is_gone_on_with(
    step: int, tmp_path: Path
) -> None:
    def triggers(path: Path | None) -> list[tuple[int, int]]:
        watch, plan = Watch("1 epoch | 4 steps"), Plan(folder=tmp_path)
        keep = checkpoint(tmp_path, every_n_train_steps=step, filename="{step}", monitor=None)
        ours = mp.trainers.lightning(watch)
        trainer = host(tmp_path, [ours, keep], max_epochs=2, enable_checkpointing=True)
        trainer.fit(Module(plan), plan.loader(), ckpt_path=path)
        return watch.triggers

    uncut = triggers(None)
    assert uncut == [(4, 0), (6, 1), (8, 1), (12, 1)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before")
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
        ended = triggers(tmp_path / "kept" / f"{step}.ckpt")
    assert ended == [moment for moment in uncut if moment[0] > step]


def test_the_model_is_the_module_as_its_forward_pass_has_it(tmp_path: Path) -> None:
    class Look(mp.Callback):
        def trigger(self) -> None:
            assert self.trainer.model is module
            predict = self.trainer.get_predictor(outputs=["output", "net.layers.0"])
            outputs = predict({"image": torch.ones(2, 4)})
            self.shapes = {name: tuple(output.shape) for name, output in outputs.items()}

    look, module = Look(), Module(Plan(folder=tmp_path, epochs=1))
    records: list[mp.Record] = []
    frozen = runner("1 epoch", name="frozen", weights="snapshot")
    callbacks = look, runner("1 epoch"), frozen
    fit(module, mp.trainers.lightning(*callbacks, monitors=[records.append]))
    assert look.shapes == {"output": (2, 3), "net.layers.0": (2, 8)}
    live, snapshot = (list(record.scalars.values()) for record in records)
    assert live == snapshot


def test_a_trainer_of_the_other_name_is_one_too(tmp_path: Path) -> None:
    import pytorch_lightning

    from milepost.callbacks.trainers._lightning import _base

    class Other(pytorch_lightning.LightningModule):
        training_step, forward = Module.training_step, Module.forward
        configure_optimizers = Module.configure_optimizers

        def __init__(self, plan: Plan) -> None:
            super().__init__()
            self.net, self.plan = plan.net(), plan

    watch, plan = Watch("1 epoch"), Plan(folder=tmp_path, epochs=1)
    ours = mp.trainers.lightning(watch)
    trainer = host(tmp_path, [ours], pytorch_lightning.Trainer, max_epochs=1)
    trainer.fit(Other(plan), plan.loader())
    assert watch.triggers == [(6, 1)]
    assert issubclass(_base(), pytorch_lightning.Callback)
    assert issubclass(_base(), lightning.Callback)
