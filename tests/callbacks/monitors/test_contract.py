"""What every monitor keeps."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from milepost.callbacks import Record
from milepost.callbacks.monitors import (
    Csv,
    FunctionMonitor,
    JsonLines,
    Monitor,
    Monitors,
    ParquetTables,
    TensorBoard,
    Terminal,
)
from tests.callbacks.monitors.offline_runs import read_rows

pytestmark = pytest.mark.filterwarnings(  # MLflow's, of SQLAlchemy
    "ignore:The ``noload`` loader strategy:DeprecationWarning"
)
ODD = [
    "validation/tar@far=1e-3",
    "a b",
    "späte/größe",
    "",
    "/",
    "a\tb",
    "a,b",
    'a"b',
    "a\nb",
    "日本",
    "\ud800",
    "x" * 300,
]
RECORDS = [
    Record(scalars={}),
    Record(runner="validation", scalars={}, step=0, epoch=0, elapsed_s=0.0),
    Record(runner="validation", scalars={"validation/a": math.nan, "b": math.inf, "c": -math.inf}),
    Record(runner="validation", scalars=dict.fromkeys(ODD, 0.5), step=2**40, epoch=3),
    Record(runner="validation", scalars={"big": 1e300, "tiny": 5e-324, "zero": -0.0}, step=3),
    Record(runner="späte", scalars={}, step=4, error="ValueError: two\nlines of 日本"),
    Record(scalars={}, error="no runner"),
    Record(
        runner="validation",
        scalars={"validation/a": 0.75},
        step=5,
        epoch=1,
        elapsed_s=1e6,
        timings={"validation/samples_per_s": 1e9, "validation/time/load_s": math.nan},
    ),
    Record(
        runner="../späte/größe",
        scalars={},
        step=6,
        tables={
            "a.b/queries": dict.fromkeys(ODD, np.array([math.nan, math.inf])),
            "": {"label": np.array(ODD), "pair": np.arange(len(ODD) * 2).reshape(-1, 2)},
            "x" * 300: {},
            "/none": {"id": np.zeros(0, np.int64), "pair": np.zeros((0, 2), np.float16)},
        },
    ),
    Record(
        step=7, scalars={"train/loss": 0.5}, pictures=dict.fromkeys(ODD, np.zeros((2, 3, 3), "u1"))
    ),
    Record(
        step=8,
        histograms={
            **dict.fromkeys(ODD, np.arange(5.0)),
            "odd": np.array([math.nan, math.inf, -math.inf, 1e300, -5e-324]),
            "alike": np.full(3, 1e300),
            "half": np.full(3, 0.1, np.float16),
            "nan": np.full(2, math.nan),
            "none": np.zeros(0),
        },
    ),
]


class Kind(NamedTuple):
    make: Callable[[], Monitor]
    records: Callable[[], int]
    """How many of the records that `counted` made a reader finds, without the monitor."""


def kinds(folder: Path) -> Iterator[tuple[str, Kind]]:
    printed = io.StringIO()
    given: list[Record] = []
    path = folder / "metrics.jsonl"

    def lines() -> int:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return len([row for row in rows if "count" in row])

    def events() -> int:
        reader = EventAccumulator(str(folder / "board")).Reload()
        return len(reader.Scalars("count")) if "count" in reader.Tags()["scalars"] else 0

    yield "terminal", Kind(lambda: Terminal(printed), lambda: printed.getvalue().count("count"))
    yield "json lines", Kind(lambda: JsonLines(path), lines)

    def rows() -> int:
        with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
            return len([row for row in csv.DictReader(file) if row["count"]])

    yield "csv", Kind(lambda: Csv(folder / "metrics.csv"), rows)

    def tables() -> int:
        return len(list(folder.glob("tables/validation/*/retrieval.queries.parquet")))

    yield "parquet tables", Kind(lambda: ParquetTables(folder / "tables"), tables)
    yield "tensorboard", Kind(lambda: TensorBoard(folder / "board"), events)
    yield (
        "function",
        Kind(
            lambda: FunctionMonitor(given.append),
            lambda: len([record for record in given if "count" in record.scalars]),
        ),
    )
    yield "group", Kind(lambda: Monitors([JsonLines(path), given.append]), lines)


def wandb_kind(make: Callable[[], Monitor], folder: Path) -> Kind:
    return Kind(make, lambda: len([row for row in read_rows(folder) if row.get("count")]))


def mlflow_kind(make: Callable[[], Monitor], folder: Path) -> Kind:
    def points() -> int:
        from mlflow import MlflowClient

        client: Any = MlflowClient()
        experiment = client.get_experiment_by_name(str(folder))
        runs = client.search_runs([experiment.experiment_id])
        return sum(len(client.get_metric_history(run.info.run_id, "count")) for run in runs)

    return Kind(make, points)


FLUSHED = ["terminal", "json lines", "csv", "parquet tables", "tensorboard", "function", "group"]
BACKENDS = {"wandb": wandb_kind, "mlflow": mlflow_kind}
TOGETHER = [pytest.param(name, marks=pytest.mark.xdist_group("backends")) for name in BACKENDS]


@pytest.fixture(params=[*FLUSHED, *TOGETHER])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    if request.param in BACKENDS:
        make = request.getfixturevalue(f"make_{request.param}")
        return BACKENDS[request.param](make, tmp_path)
    return dict(kinds(tmp_path))[request.param]


def counted(step: int) -> Record:
    tables = {"retrieval/queries": {"id": np.arange(3), "mrr": np.ones(3)}}
    return Record(runner="validation", scalars={"count": 1.0}, step=step, tables=tables)


@pytest.mark.filterwarnings("ignore:.* would have one name in :RuntimeWarning")
def test_any_record_is_taken(kind: Kind) -> None:
    monitor = kind.make()
    for step, record in enumerate(RECORDS):
        monitor.write(record)
        monitor.write(counted(100 + step))
    monitor.close()
    assert kind.records() == len(RECORDS)


# Weights & Biases writes in a process of its own, at its own times
@pytest.mark.parametrize("kind", [*FLUSHED, TOGETHER[1]], indirect=True)
def test_records_are_there_for_others_after_a_flush(kind: Kind) -> None:
    monitor = kind.make()
    monitor.open()
    monitor.write(counted(1))
    monitor.flush()
    assert kind.records() == 1
    monitor.close()


def test_open_and_close_may_be_called_again(kind: Kind) -> None:
    monitor = kind.make()
    monitor.open()
    monitor.open()
    monitor.write(counted(1))
    monitor.close()
    monitor.close()
    assert kind.records() == 1


def test_a_record_after_close_is_appended(kind: Kind) -> None:
    monitor = kind.make()
    monitor.write(counted(1))
    monitor.close()
    monitor.write(counted(2))
    monitor.close()
    assert kind.records() == 2


def test_a_resumed_run_appends(kind: Kind) -> None:
    for step in (1, 2):
        monitor = kind.make()
        monitor.write(counted(step))
        monitor.close()
    assert kind.records() == 2


def test_making_one_touches_no_file(kind: Kind, tmp_path: Path) -> None:
    kind.make().close()
    assert list(tmp_path.iterdir()) == []


def test_its_name_is_short(kind: Kind) -> None:
    value: Any = kind.make()
    assert repr(value).split("(")[0] == type(value).__name__
