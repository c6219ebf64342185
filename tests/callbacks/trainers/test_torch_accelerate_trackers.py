"""The trackers of an accelerator whose runs our own monitors write to."""

from collections.abc import Iterator
from pathlib import Path

import accelerate as hf
import mlflow
import numpy as np
import pytest
import wandb
from accelerate.state import AcceleratorState, GradientState
from torch import nn

import milepost as mp

METRIC = "validation/hit_rate@1"


@pytest.fixture(autouse=True)
def _no_accelerator_yet() -> Iterator[None]:
    """Accelerators share what they are for the whole process."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_the_runs_of_its_trackers_get_every_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATA", "CACHE", "CONFIG", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.create_experiment("tests", artifact_location=(tmp_path / "artifacts").as_uri())
    accelerator = hf.Accelerator(cpu=True, log_with=["wandb", "mlflow"])
    offline = {"mode": "offline", "dir": str(tmp_path)}
    accelerator.init_trackers("tests", init_kwargs={"wandb": offline})
    with mp.trainers.accelerate(accelerator, nn.Linear(1, 1)) as loop:
        assert loop.takes_tables
        assert loop.monitors.takes_pictures
        accelerator.log({"user/loss": 1.0}, step=7)
        picture = np.zeros((2, 2, 3), np.uint8)
        loop.log({METRIC: 0.5}, pictures={"validation/roc": picture})
    active = mlflow.active_run()
    assert active is not None
    assert wandb.run is not None
    assert wandb.run.summary[METRIC] == 0.5
    assert wandb.run.summary["user/loss"] == 1.0
    accelerator.end_training()
    metrics = mlflow.get_run(active.info.run_id).data.metrics
    assert metrics == {"user/loss": 1.0, "validation/hit_rate_at_1": 0.5}
