"""Callbacks in Lightning's `Trainer.fit`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import pytorch as lightning
from torch import Tensor

import milepost as mp
from tests.callbacks.trainers.contract import *  # noqa: F403
from tests.callbacks.trainers.contract import METRIC, Plan, Side, Trained, weights_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]


class Module(lightning.LightningModule):
    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.net = plan.net()
        self.plan = plan

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.net(image)
        return output

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        return self.plan.loss(self(batch["image"]), batch["label"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.plan.optimizer(self)


def host(folder: Path, *callbacks: Any, **options: Any) -> Any:
    """A quiet trainer of Lightning on the CPU."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    quiet |= {"enable_progress_bar": False, "accelerator": "cpu", "default_root_dir": folder}
    return lightning.Trainer(callbacks=list(callbacks), **{**quiet, **options})


def train(callbacks: Sequence[mp.Callback], plan: Plan) -> Trained:
    records: list[mp.Record] = []
    ours = mp.trainers.lightning(*callbacks, monitors=[records.append])
    hosts: list[Any] = [ours] if plan.attached else []
    if plan.patience is not None:
        stop = lightning.callbacks.EarlyStopping(METRIC, mode="max", patience=plan.patience)
        hosts.insert(0, stop)
    best = lightning.callbacks.ModelCheckpoint(plan.folder, "best", METRIC, mode="max")
    if plan.best:
        hosts.insert(0, best)
    options = {"max_epochs": plan.epochs, "accumulate_grad_batches": plan.accumulate}
    trainer = host(plan.folder, *hosts, enable_checkpointing=plan.best, **options)
    module, last = Module(plan), plan.folder / "last.ckpt"
    trainer.fit(module, plan.loader(), ckpt_path=last if plan.resume else None)
    trainer.save_checkpoint(last)
    trained = Trained(weights=weights_of(module), records=records, step=ours.step)
    if plan.best:
        module.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
        trained = dataclasses.replace(trained, best=weights_of(module))
    return trained


@pytest.fixture
def side() -> Side:
    return train
