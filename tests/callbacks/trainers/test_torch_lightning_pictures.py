"""Lightning's loggers that show pictures are given them."""

import warnings
from pathlib import Path

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


@pytest.mark.slow
def test_loggers_that_show_pictures_are_given_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    names = ("CSVLogger", "TensorBoardLogger")
    loggers = [getattr(lightning.loggers, name)(tmp_path, name, "0") for name in names]
    loggers.append(lightning.loggers.WandbLogger(save_dir=tmp_path, project="digits"))
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
