"""Callbacks in the `Trainer` of transformers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import transformers
from torch import Tensor, nn

import milepost as mp
from tests.callbacks.trainers.contract import *  # noqa: F403
from tests.callbacks.trainers.contract import METRIC, Plan, Side, Trained, weights_of


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
