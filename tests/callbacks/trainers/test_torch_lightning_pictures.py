"""Lightning's loggers that show pictures say so, and are given them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb  # noqa: F401 - left out where it is not installed
from lightning import pytorch as lightning
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import milepost as mp
from tests.callbacks.trainers.contract import METRIC, Measure, Plan
from tests.callbacks.trainers.lightning_models import Module, fit
from tests.callbacks.trainers.programs import events

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]


class Pictures(mp.Callback):
    """Logs a picture after each epoch."""

    def trigger(self) -> None:
        pictures = {"validation/roc": np.full((2, 3, 3), 7, np.uint8)}
        self.trainer.monitors.write(mp.Record(step=self.trainer.step, pictures=pictures))


class Asked(mp.Callback):
    """Notes whether pictures are shown."""

    def setup(self) -> None:
        self.are_shown = self.trainer.monitors.takes_pictures


class Drawing(lightning.loggers.CSVLogger):
    """A logger that takes pictures."""

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None: ...


@pytest.mark.parametrize("logger", [lightning.loggers.CSVLogger, Drawing])
def test_whether_pictures_are_shown_is_known_when_the_training_begins(
    logger: Any, tmp_path: Path
) -> None:
    asked, options = Asked(), {"logger": logger(tmp_path), "log_every_n_steps": 1}
    fit(Module(Plan(folder=tmp_path, epochs=1)), mp.trainers.lightning(asked), **options)
    assert asked.are_shown is (logger is Drawing)


@pytest.mark.slow
def test_loggers_that_show_pictures_are_given_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    names = ("CSVLogger", "TensorBoardLogger")
    loggers = [getattr(lightning.loggers, name)(tmp_path, name, "0") for name in names]
    loggers.append(
        lightning.loggers.WandbLogger(save_dir=tmp_path, project="digits", mode="offline")
    )
    ours = mp.trainers.lightning(Measure(), Pictures())
    module = Module(Plan(folder=tmp_path, epochs=2))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        fit(module, ours, logger=loggers, log_every_n_steps=1)
        run = loggers[-1].experiment
        assert (run.summary[METRIC], run.summary["trainer/global_step"]) == (0.75, 11)
        assert run.summary["validation/roc"]["count"] == 1
        run.finish()
    folder = tmp_path / "TensorBoardLogger" / "0"
    assert events(folder)[METRIC] == [5, 11]
    images = EventAccumulator(str(folder)).Reload().Images("validation/roc")
    assert [(image.step, image.width, image.height) for image in images] == [(5, 3, 2), (11, 3, 2)]
