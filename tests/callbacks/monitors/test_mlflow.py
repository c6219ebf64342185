import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import mlflow
import numpy as np
import pytest
from PIL import Image

import milepost as mp
from milepost.callbacks import Loop, Record, Solo
from milepost.callbacks.monitors import MLflow
from tests.pages import block, blocks_only_shown

pytestmark = [
    pytest.mark.xdist_group("backends"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]
PICTURE = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
QUERIES = {"id": np.arange(10), "hit_rate@1": np.arange(10) % 2}
COLUMNS = {"retrieval/queries": {"hit_rate@1": "validation/hit_rate@1"}}


def evaluated(step: int, **more: Any) -> Record:
    return Record(
        runner="validation",
        step=step,
        scalars={"validation/hit_rate@1": step / 32, "validation/eer": math.nan},
        tables={"retrieval/queries": QUERIES},
        columns=COLUMNS,
        **more,
    )


RECORDS = [
    evaluated(16, time=1e9, timings={"validation/time/load_s": math.inf}),
    evaluated(8),  # a later step may be there already
    Record(scalars={"train/loss": 0.5}),
    Record(step=16, pictures={"validation/roc@1": PICTURE}),
    Record(step=16, histograms={"weights": np.array([0.0, 1.0, 1.0])}),
    Record(runner="validation", step=24, error="ValueError: no"),
]


@pytest.fixture(scope="module")
def run(backends: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run that holds all records, of a training that went well."""
    folder = tmp_path_factory.mktemp("mlflow")
    mlflow.create_experiment("digits", artifact_location=folder.as_uri())
    monitor = MLflow("digits", run_name="first", config={"lr": 0.1})
    monitor.describe({"lr": 0.5, "runners": {"validation": {"k": [1, "x" * 900]}}})
    with Loop(None, monitors=[monitor]) as loop:
        for record in RECORDS:
            loop.monitors.write(record)
    assert mlflow.active_run() is None
    return mlflow.search_runs(experiment_names=["digits"], output_format="list")[0]


def artifact(run: Any, path: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=path))


def points(run: Any, name: str) -> list[tuple[int, float]]:
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, name)
    return [(point.step, point.value) for point in history]


def test_scalars_and_timings_are_metrics_at_their_steps(run: Any) -> None:
    assert sorted(points(run, "validation/hit_rate_at_1")) == [(8, 0.25), (16, 0.5)]
    assert points(run, "train/loss") == [(2, 0.5)]
    assert all(math.isnan(value) for _, value in points(run, "validation/eer"))
    assert points(run, "validation/time/load_s")[0][1] > 1e300
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "validation/time/load_s")
    assert history[0].timestamp == 10**12


def test_what_the_names_were_can_be_read(run: Any) -> None:
    assert json.loads(artifact(run, "milepost/names.json").read_text()) == {
        "validation/hit_rate_at_1": "validation/hit_rate@1",
        "validation/roc_at_1": "validation/roc@1",
    }


def test_a_picture_is_shown_at_its_step(run: Any) -> None:
    pictures = sorted(artifact(run, "images").glob("*.png"))
    assert [path.name.partition("+timestamp")[0] for path in pictures] == [
        "validation~roc_at_1+step+16"
    ]
    assert np.array_equal(np.asarray(Image.open(pictures[0])), PICTURE)


def test_a_histogram_is_a_table_of_its_bins(run: Any) -> None:
    lines = artifact(run, "histograms/weights/00000016.csv").read_text().splitlines()
    assert lines[:2] == ["low,high,count", "0.0,0.015625,1"]
    assert (len(lines), lines[-1]) == (65, "0.984375,1.0,2")


def test_an_error_is_a_text_and_the_latest_a_tag(run: Any) -> None:
    assert artifact(run, "errors/validation/00000024.txt").read_text() == "ValueError: no"
    assert run.data.tags["validation/error"] == "step 24: ValueError: no"


def test_tables_are_compared_as_those_of_a_folder(run: Any) -> None:
    folder = artifact(run, "")
    assert len(list(folder.glob("tables/validation/*/retrieval.queries.parquet"))) == 2
    changes = mp.compare(folder, folder, metrics=["hit_rate@1"])
    assert [(change.first, change.difference) for change in changes] == [(0.5, 0.0)]


def test_the_run_has_its_configuration(run: Any) -> None:
    assert run.data.params == {
        "lr": "0.1",
        "runners.validation.k.0": "1",
        "runners.validation.k.1": "x" * 500,
    }
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")


@pytest.mark.usefixtures("make_mlflow")
def test_a_run_that_is_active_is_used_and_left_open(tmp_path: Path) -> None:
    monitor = MLflow("another")
    for loss in (0.5, 0.25):
        with mlflow.start_run(experiment_id=_experiment(tmp_path)) as active:
            with Loop(None, monitors=[monitor]) as loop:
                loop.log({"loss@1": loss})
            still: Any = mlflow.active_run()
            assert still.info.run_id == active.info.run_id
        assert points(active, "loss_at_1") == [(0, loss)]
        names = artifact(active, "milepost/names.json").read_text()
        assert json.loads(names) == {"loss_at_1": "loss@1"}


@pytest.mark.usefixtures("make_mlflow")
def test_another_run_than_the_active_one_is_an_error(tmp_path: Path) -> None:
    with (
        mlflow.start_run(experiment_id=_experiment(tmp_path)),
        pytest.raises(ValueError, match="`run_id` must be") as caught,
    ):
        MLflow(run_id="other").open()
    assert str(caught.value) == "`run_id` must be that of the active run, got 'other'; end that run"


def test_a_run_is_gone_on_with_and_says_how_it_ended(
    make_mlflow: Callable[[], MLflow], tmp_path: Path
) -> None:
    monitor = make_mlflow()
    monitor.write(Record(step=1, scalars={"x": 1.0}))
    monitor.close()
    (run,) = mlflow.search_runs([_experiment(tmp_path)], output_format="list")
    again = MLflow(run_id=run.info.run_id, config={"lr": 0.1})
    for number, (error, status) in enumerate(
        [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
    ):
        with pytest.raises(error):
            fail(again, {"x": float(number)}, error)
        assert mlflow.get_run(run.info.run_id).info.status == status
    assert sorted(points(run, "x")) == [(0, 0.0), (0, 1.0), (1, 1.0)]


def fail(monitor: MLflow, scalars: dict[str, float], error: type[BaseException]) -> NoReturn:
    with Loop(None, monitors=[monitor]) as loop:
        loop.log(scalars)
        if error is KeyboardInterrupt:
            mlflow.end_run()  # the user's own doing
        raise error


def test_a_rank_that_is_not_the_chief_has_no_run(
    make_mlflow: Callable[[], MLflow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Solo, "rank", 1)
    with Loop(None, monitors=[make_mlflow()]) as loop:
        loop.log({"x": 2.0})
    assert mlflow.search_runs([_experiment(tmp_path)], output_format="list") == []


@pytest.mark.usefixtures("backends")
def test_the_blocks_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mlflow.create_experiment("page", artifact_location=tmp_path.as_uri())
    shown = [code for code in blocks_only_shown("docs/monitors.md") if "WandB" not in code]
    exec("".join([block("docs/monitors.md", "python"), *shown]).replace("digits", "page"), {})
    (run,) = mlflow.search_runs(experiment_names=["page"], output_format="list")
    assert [step for step, _ in points(run, "validation/hit_rate_at_1")] == [3, 6]


def _experiment(folder: Path) -> Any:
    experiment: Any = mlflow.get_experiment_by_name(str(folder))
    return experiment.experiment_id
