"""A model in the `Trainer` of transformers, and callbacks that note what happens to them."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import transformers
from torch import Tensor, nn

import milepost as mp
from tests.callbacks.trainers.contract import METRIC, Plan

BEST: dict[str, Any] = {"eval_strategy": "steps", "metric_for_best_model": METRIC}


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
            where: dict[str, Any] = {
                "step": trainer.step,
                "epoch": trainer.epoch,
                "scalars": {METRIC: value},
            }
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
