"""Who sees in Lightning what was measured: its callbacks, its loggers, our monitors."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from lightning import pytorch as lightning
from torch.optim.lr_scheduler import ReduceLROnPlateau

import milepost as mp
from tests.callbacks.trainers.contract import METRIC, Measure, Plan
from tests.callbacks.trainers.lightning_models import (
    Logged,
    Module,
    Validated,
    checkpoint,
    fit,
    kept,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"val": True}, marks=pytest.mark.slow),
        {"val": True, "val_check_interval": 0.5},
    ],
)
def test_an_epoch_without_a_value_is_none_to_lightnings_callbacks(
    options: dict[str, Any], tmp_path: Path
) -> None:
    stop = lightning.callbacks.EarlyStopping(METRIC, mode="max", patience=2)
    keep = checkpoint(tmp_path)
    ours = mp.trainers.lightning(Measure("2 epochs"), monitors=[])
    kind = Validated if "val" in options else Module
    fit(kind(Plan(folder=tmp_path, epochs=5)), stop, keep, ours, **options)
    assert (stop.wait_count, stop.best_score.item()) == (1, 0.75)  # 0.75, 0.7
    assert kept(tmp_path) == ["12 0.75", "24 0.70"]


def test_a_checkpoint_is_of_the_step_at_which_its_metric_was_measured(tmp_path: Path) -> None:
    keep = checkpoint(tmp_path, every_n_train_steps=4)
    module = Module(Plan(folder=tmp_path))
    fit(module, mp.trainers.lightning(Measure("8 steps"), monitors=[]), keep)
    assert kept(tmp_path) == ["16 0.75", "8 0.50"]


def test_a_checkpoint_that_never_looks_where_its_metric_is_measured_is_told(tmp_path: Path) -> None:
    ours = mp.trainers.lightning(Measure("8 steps"), monitors=[])
    with pytest.warns(UserWarning, match="kept no checkpoint") as caught:
        fit(Module(Plan(folder=tmp_path)), checkpoint(tmp_path), ours)
    assert str(caught[-1].message) == (
        f"ModelCheckpoint(monitor={METRIC!r}) kept no checkpoint: it never looked at a step at "
        "which this was measured, such as 16; let both happen at the same steps"
    )


def test_a_name_that_is_not_measured_is_lightnings_own_error(tmp_path: Path) -> None:
    stop = lightning.callbacks.EarlyStopping("validation/hit_rate@2")
    with pytest.raises(RuntimeError, match=rf"metric `validation/hit_rate@2` .* `{METRIC}`"):
        fit(Module(Plan(folder=tmp_path)), stop, mp.trainers.lightning(Measure(), monitors=[]))


def test_a_callback_that_monitors_lightnings_own_metrics_is_left_alone(tmp_path: Path) -> None:
    stop = lightning.callbacks.EarlyStopping("val_loss", patience=9)
    fit(Validated(Plan(folder=tmp_path)), stop, mp.trainers.lightning(Measure()), val=True)
    assert stop.best_score.item() < 10
    assert not {"on_train_epoch_end", "on_validation_end"} & set(vars(stop))


def test_a_scheduler_that_waits_for_a_plateau_acts_on_our_metrics(tmp_path: Path) -> None:
    class Plateau(Module):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            scheduler = ReduceLROnPlateau(optimizer, "max", factor=0.5, patience=0)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "monitor": METRIC},
            }

    trainer = fit(Plateau(Plan(folder=tmp_path)), mp.trainers.lightning(Measure(), monitors=[]))
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.05


def test_every_logger_is_given_what_was_measured_on_the_axis_of_its_own(tmp_path: Path) -> None:
    loggers = [lightning.loggers.CSVLogger(tmp_path, name, "0") for name in ("one", "other")]
    ours = mp.trainers.lightning(Measure())
    options: dict[str, Any] = {"accumulate_grad_batches": 2, "logger": loggers}
    options["log_every_n_steps"] = 1
    fit(Logged(Plan(folder=tmp_path)), ours, **options)
    for name in ("one", "other"):
        with (tmp_path / name / "0" / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        measured = [(row["epoch"], row["step"], row[METRIC]) for row in rows if row[METRIC]]
        assert measured == [("0", "2", "0.5"), ("1", "5", "0.75"), ("2", "8", "0.6")]
        steps = [row["step"] for row in rows if row["train_loss"]]
        assert steps == [str(step) for step in range(9)]


def test_a_rundir_holds_what_the_module_logs_beside_what_was_measured(tmp_path: Path) -> None:
    ours = mp.trainers.lightning(Measure(), rundir=tmp_path / "run")
    module = Validated(Plan(folder=tmp_path))
    fit(module, ours, val=True, check_val_every_n_epoch=2)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    fields = {"runner", "elapsed_s", "time"}
    records = [
        {name for name, value in json.loads(line).items() if value is not None} - fields
        for line in lines
    ]
    both, one = {"step", "epoch", "train_loss", "val_loss"}, {"step", "epoch", "train_loss"}
    measured = {"step", "epoch", METRIC}
    assert records == [measured, one, measured, both, measured, one]


def test_a_metric_that_the_module_logs_by_the_same_name_is_told(tmp_path: Path) -> None:
    class Same(Module):
        def training_step(self, batch: Any, index: int) -> Any:
            self.log(METRIC, 0.1)
            return super().training_step(batch, index)

    with pytest.warns(UserWarning, match="logs") as caught:
        fit(Same(Plan(folder=tmp_path, epochs=1)), mp.trainers.lightning(Measure(), monitors=[]))
    assert str(caught[-1].message) == (
        f"the module logs {[METRIC]} too, which are measured here; give the runner a `name`"
    )


def test_monitors_that_are_given_take_the_place_of_the_loggers(tmp_path: Path) -> None:
    logger = lightning.loggers.CSVLogger(tmp_path, "csv", "0")
    records: list[mp.Record] = []
    ours = mp.trainers.lightning(Measure(), monitors=[records.append])
    fit(Module(Plan(folder=tmp_path)), ours, logger=logger, log_every_n_steps=1)
    assert [record.scalars[METRIC] for record in records] == [0.5, 0.75, 0.6]
    assert logger.experiment.metrics == []
