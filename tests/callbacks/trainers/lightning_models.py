"""Modules and trainers of Lightning around the training of the contract."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import pytorch as lightning
from torch import Tensor

from tests.callbacks.trainers.contract import METRIC, Plan

QUIET = dict.fromkeys(
    ("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False
)


class Module(lightning.LightningModule):
    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.net = plan.net()
        self.plan = plan

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.net(image)
        return output

    def training_step(self, batch: dict[str, Tensor], index: int) -> Any:
        return self.plan.loss(self(batch["image"]), batch["label"])

    def configure_optimizers(self) -> Any:
        return self.plan.optimizer(self)


class Logged(Module):
    """Logs a loss for each batch."""

    def training_step(self, batch: dict[str, Tensor], index: int) -> Any:
        loss = super().training_step(batch, index)
        self.log("train_loss", loss)
        return loss


class Validated(Logged):
    """Logs a loss of its validation too."""

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        self.log("val_loss", self.plan.loss(self(batch["image"]), batch["label"]))

    test_step = validation_step

    def predict_step(self, batch: dict[str, Tensor], index: int) -> Any:
        return self(batch["image"])


class Adversaries(Module):
    """Two optimizers, each of which makes an update at every batch."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.automatic_optimization = False

    def training_step(self, batch: dict[str, Tensor], index: int) -> Any:
        optimizers: Any = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, index))
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [self.plan.optimizer(self), self.plan.optimizer(self)]


def host(
    folder: Path, callbacks: Sequence[Any] = (), kind: Any = lightning.Trainer, **options: Any
) -> Any:
    """A quiet trainer of Lightning on the CPU."""
    where = {"accelerator": "cpu", "default_root_dir": folder}
    return kind(callbacks=list(callbacks), **{**QUIET, **where, **options})


def fit(module: Any, *callbacks: Any, val: bool = False, **options: Any) -> Any:
    """Fit three epochs of six steps; return Lightning's trainer."""
    plan = module.plan
    options = {"max_epochs": plan.epochs, **options}
    if any(hasattr(callback, "best_model_path") for callback in callbacks):
        options["enable_checkpointing"] = True
    trainer = host(plan.folder, callbacks, **options)
    trainer.fit(module, plan.loader(), plan.loader() if val else None)
    return trainer


def checkpoint(folder: Path, **options: Any) -> Any:
    """Keeps a file for each value of the metric."""
    name = f"{{step}} {{{METRIC}:.2f}}"
    options = {"filename": name, "monitor": METRIC, "mode": "max", "save_top_k": -1, **options}
    options["auto_insert_metric_name"] = False
    return lightning.callbacks.ModelCheckpoint(folder / "kept", **options)


def kept(folder: Path) -> list[str]:
    """Return the names of the files that a checkpoint kept."""
    return sorted(path.stem for path in (folder / "kept").iterdir())
