"""Weights & Biases and MLflow as they are, with all of their files in folders of tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from milepost.callbacks.monitors import MLflow, WandB


@pytest.fixture(scope="session")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of what both keep for the whole of a machine."""
    folder = tmp_path_factory.mktemp("backends")
    with pytest.MonkeyPatch.context() as environment:
        for name in ("DATA", "CACHE", "CONFIG", "ARTIFACT"):
            environment.setenv(f"WANDB_{name}_DIR", str(folder / "wandb"))
        environment.setenv("WANDB_SILENT", "true")
        environment.setenv("WANDB_CONSOLE", "off")
        environment.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        environment.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield folder


@pytest.fixture
def make_wandb(backends: Path, tmp_path: Path) -> Callable[[], WandB]:
    """Makes monitors of runs that stay on this machine."""
    pytest.importorskip("wandb")
    return lambda: WandB("tests", init={"mode": "offline", "dir": str(tmp_path)})


@pytest.fixture
def make_mlflow(backends: Path, tmp_path: Path) -> Callable[[], MLflow]:
    """Makes monitors of runs in an experiment of the test's own."""
    mlflow = pytest.importorskip("mlflow")
    mlflow.create_experiment(str(tmp_path), artifact_location=(tmp_path / "artifacts").as_uri())
    return lambda: MLflow(str(tmp_path))
