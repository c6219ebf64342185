"""Lightning's `Trainer.fit` keeps the contract of all trainers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from lightning import pytorch as lightning

import milepost as mp
from tests.callbacks.trainers.contract import *  # noqa: F403
from tests.callbacks.trainers.contract import METRIC, Plan, Side, Trained, weights_of
from tests.callbacks.trainers.lightning_models import Module, host

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]


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
    trainer = host(plan.folder, hosts, enable_checkpointing=plan.best, **options)
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
