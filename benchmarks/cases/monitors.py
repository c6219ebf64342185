"""A record of some scalars after the other, to a run that stays on this machine."""

import os
import tempfile
from collections.abc import Callable
from typing import Any

from benchmarks.cases.case import Case, Run
from benchmarks.data import Array


def to_wandb(rows: Array, labels: Array, *, scalars: int) -> Run:
    import milepost as mp

    start_wandb()
    return writing(rows[:, :scalars], mp.WandB())


def wandb(rows: Array, labels: Array, *, scalars: int) -> Run:
    run, names = start_wandb(), [f"validation/{number}@1" for number in range(scalars)]
    axes = {"epoch": 0, "elapsed_s": 0.0}

    def log(step: int, values: list[float]) -> None:
        run.log({"step": step, **axes, **dict(zip(names, values, strict=True))})

    return each(rows[:, :scalars], log)


def to_mlflow(rows: Array, labels: Array, *, scalars: int) -> Run:
    import milepost as mp

    start_mlflow()
    return writing(rows[:, :scalars], mp.MLflow())


def mlflow(rows: Array, labels: Array, *, scalars: int) -> Run:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    run_id, client = start_mlflow(), MlflowClient()
    names = [f"validation/{number}_at_1" for number in range(scalars)]

    def log(step: int, values: list[float]) -> None:
        pairs = zip(names, values, strict=True)
        client.log_batch(run_id, metrics=[Metric(name, x, step, step) for name, x in pairs])

    return each(rows[:, :scalars], log)


def writing(rows: Array, monitor: Any) -> Run:
    """Return what hands the monitor a record for each row."""
    from milepost.callbacks import Record

    monitor.open()
    names = [f"validation/{number}@1" for number in range(rows.shape[1])]
    axes: dict[str, Any] = {"epoch": 0, "elapsed_s": 0.0}

    def log(step: int, values: list[float]) -> None:
        scalars = dict(zip(names, values, strict=True))
        monitor.write(Record(runner="validation", step=step, scalars=scalars, **axes))

    return each(rows, log)


def each(rows: Array, log: Callable[[int, list[float]], None]) -> Run:
    """Return what logs each row, at steps that go on from one run to the next."""
    values, done = rows.astype(float).tolist(), 0

    def run() -> None:
        nonlocal done
        for row in values:
            log(done, row)
            done += 1

    return run


def start_wandb() -> Any:
    """Return the active run; the warm-up starts it."""
    import wandb

    settings = wandb.Settings(silent=True, console="off")
    return wandb.run or wandb.init(mode="offline", dir=tempfile.mkdtemp(), settings=settings)


def start_mlflow() -> str:
    import mlflow

    if mlflow.active_run() is not None:
        mlflow.end_run()
    else:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        mlflow.set_tracking_uri(f"sqlite:///{tempfile.mkdtemp()}/mlflow.db")
    return str(mlflow.start_run().info.run_id)


CASE = Case(
    {
        "milepost to W&B": to_wandb,
        "W&B": wandb,
        "milepost to MLflow": to_mlflow,
        "MLflow": mlflow,
    }
)
