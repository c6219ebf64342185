import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import wandb
from PIL import Image

from milepost.callbacks import Loop, Record, Solo
from milepost.callbacks.monitors import WandB
from milepost.callbacks.monitors._images import encode_png
from tests.callbacks.monitors.offline_runs import read_records, read_rows
from tests.pages import block, blocks_only_shown

pytestmark = pytest.mark.xdist_group("backends")
PICTURE = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
QUERIES = {
    "id": np.arange(10),
    "label": np.array(["a", "b"] * 5, object),
    "mrr": np.array([math.nan, *range(9)]),
    "pair": np.arange(20).reshape(10, 2),
    "file": np.array([b"\x89PNG"] * 10, object),
    "picture": np.array([encode_png(PICTURE)] * 10, object),
}
RECORDS = [
    Record(
        runner="validation",
        step=20,
        epoch=1,
        elapsed_s=2.5,
        time=1e9,
        scalars={"validation/hit_rate@1": 0.5, "validation/eer": math.nan},
        timings={"validation/time/load_s": math.inf},
        tables={"retrieval/queries": QUERIES},
    ),
    Record(runner="test", step=10, scalars={"test/hit_rate@0.5": 0.25}),
    Record(scalars={"_private": 1.0, "": 2.0}),
    Record(step=20, pictures={"validation/roc": PICTURE}),
    Record(step=20, histograms={"weights": np.array([0.0, 1.0, 1.0])}),
    Record(runner="validation", step=30, error="ValueError: no"),
]


@pytest.fixture(scope="module")
def folder(backends: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of a run which holds all records, of a training that went well."""
    folder = tmp_path_factory.mktemp("wandb")
    monitor = WandB(
        "digits",
        name="first",
        config={"lr": 0.1},
        max_rows=5,
        init={"mode": "offline", "dir": str(folder)},
    )
    monitor.describe({"lr": 0.5, "model": {"dimension": 64}})
    with Loop(None, monitors=[monitor]) as loop:
        for record in RECORDS:
            loop.monitors.write(record)
    assert wandb.run is None
    return folder


def own(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name[0] != "_"}


def test_each_record_is_a_row_over_the_step_that_it_has(folder: Path) -> None:
    rows = read_rows(folder)
    assert [row["_step"] for row in rows] == list(range(7))
    assert [row["step"] for row in rows] == [20, 20, 10, 2, 20, 20, 30]  # the first has a table
    assert own(rows[2]) == {"step": 10, "test/hit_rate@0.5": 0.25}


def test_scalars_timings_and_moments_are_written(folder: Path) -> None:
    row = read_rows(folder)[0]
    assert row["_timestamp"] == 1e9
    assert (row["epoch"], row["elapsed_s"]) == (1, 2.5)
    assert row["validation/hit_rate@1"] == 0.5
    assert math.isnan(row["validation/eer"])
    assert row["validation/time/load_s"] == math.inf


def test_every_metric_has_the_step_for_its_axis(folder: Path) -> None:
    metrics = {metric.name: metric for metric in read_records(folder, "metric")}
    hidden = {name for name, metric in metrics.items() if metric.options.hidden}
    assert hidden == {"step", "epoch", "elapsed_s"}
    axes = {name: metric.step_metric for name, metric in metrics.items() if name not in hidden}
    assert axes == dict.fromkeys(
        [
            *("validation/hit_rate@1", "validation/eer", "validation/time/load_s"),
            *("validation/retrieval/queries", "test/hit_rate@0.5", "-private", "-"),
            *("validation/roc", "weights", "validation/error"),
        ],
        "step",
    )


def test_what_weights_and_biases_keeps_for_itself_has_another_name(folder: Path) -> None:
    assert own(read_rows(folder)[3]) == {"step": 2, "-private": 1, "-": 2}


def test_a_picture_is_a_file(folder: Path) -> None:
    row = read_rows(folder)[4]
    assert row["validation/roc/_type"] == "image-file"
    path = next(folder.glob("wandb/offline-run-*/files")) / row["validation/roc/path"]
    assert np.array_equal(np.asarray(Image.open(path)), PICTURE)


def test_a_histogram_has_its_bins(folder: Path) -> None:
    row = read_rows(folder)[5]
    assert row["weights/_type"] == "histogram"
    assert (row["weights/values"][0], row["weights/values"][-1]) == (1, 2)
    assert (row["weights/bins"][0], row["weights/bins"][-1]) == (0, 1)


def test_an_error_is_a_text(folder: Path) -> None:
    assert own(read_rows(folder)[6]) == {"step": 30, "validation/error": "ValueError: no"}


def test_a_large_table_is_thinned(folder: Path) -> None:
    row = read_rows(folder)[1]
    name = "validation/retrieval/queries"
    assert (row[f"{name}/_type"], row[f"{name}/nrows"]) == ("table-file", 5)
    path = next(folder.glob("wandb/offline-run-*/files")) / row[f"{name}/path"]
    table = json.loads(path.read_text())
    assert table["columns"] == ["id", "label", "mrr", "pair", "picture"]
    rows = [values[:4] for values in table["data"][1:3]]
    assert rows == [[2, "a", 1.0, [4, 5]], [4, "a", 3.0, [8, 9]]]


def test_pictures_in_a_table_are_files_of_its_artifact(folder: Path) -> None:
    (artifact,) = read_records(folder, "artifact")
    files = {entry.path: entry.local_path for entry in artifact.manifest.contents}
    (name,) = (path for path in files if path.endswith("queries.table.json"))
    cells = [values[4] for values in json.loads(Path(files[name]).read_text())["data"]]
    assert [cell["_type"] for cell in cells] == ["image-file"] * 5
    assert np.array_equal(np.asarray(Image.open(files[cells[0]["path"]])), PICTURE)


def test_the_run_is_what_was_asked_for_with_its_configuration(folder: Path) -> None:
    run = read_records(folder, "run")[0]
    assert (run.project, run.display_name) == ("digits", "first")
    config: dict[str, Any] = {}
    for record in read_records(folder, "config"):
        config |= {x.key or x.nested_key[0]: json.loads(x.value_json) for x in record.update}
    assert config["lr"] == 0.1
    assert config["model"] == {"dimension": 64}
    assert [record.exit_code for record in read_records(folder, "exit")] == [0]


def test_a_run_that_is_active_is_used_and_left_open(backends: Path, tmp_path: Path) -> None:
    monitor = WandB("other", max_rows=0)
    assert not monitor.takes_tables
    with wandb.init(mode="offline", dir=tmp_path) as run:
        run.log({"mine": 1})
        with Loop(None, monitors=[monitor]) as loop:
            loop.log({"train/loss": 0.5})
        assert wandb.run is run
        run.log({"mine": 2})
    assert [own(row) for row in read_rows(tmp_path)] == [
        {"mine": 1},
        {"step": 0, "epoch": 0, "elapsed_s": pytest.approx(0, abs=60), "train/loss": 0.5},
        {"mine": 2},
    ]


def test_a_run_is_gone_on_with_and_one_that_fails_says_so(
    make_wandb: Callable[[], WandB], tmp_path: Path
) -> None:
    monitor = make_wandb()
    monitor.write(Record(step=1, scalars={"x": 1.0}))
    monitor.close()
    with pytest.raises(KeyboardInterrupt):
        fail(monitor)
    assert [row["x"] for row in read_rows(tmp_path)] == [1, 2]
    assert len({run.run_id for run in read_records(tmp_path, "run")}) == 1
    assert [record.exit_code for record in read_records(tmp_path, "exit")] == [0, 1]


def fail(monitor: WandB) -> NoReturn:
    with Loop(None, monitors=[monitor]) as loop:
        loop.log({"x": 2.0})
        raise KeyboardInterrupt


def test_numbers_are_kept_where_pictures_fail(
    make_wandb: Callable[[], WandB], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with Loop(None, monitors=[make_wandb()]) as loop:
        with pytest.warns(RuntimeWarning, match="pillow is not installed"):
            loop.log({"x": 1.0}, pictures={"p": PICTURE})
        loop.log({"x": 2.0})
    assert [row["x"] for row in read_rows(tmp_path)] == [1, 2]


def test_a_rank_that_is_not_the_chief_has_no_run(
    make_wandb: Callable[[], WandB], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Solo, "rank", 1)
    with Loop(None, monitors=[make_wandb()]) as loop:
        loop.log({"x": 2.0})
        assert wandb.run is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("backends")
def test_the_block_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (shown,) = (code for code in blocks_only_shown("docs/monitors.md") if "WandB" in code)
    here = shown.replace('"mode"', f'"dir": {str(tmp_path)!r}, "mode"')  # it knows one folder only
    exec(block("docs/monitors.md", "python") + here, {})
    steps = [row["step"] for row in read_rows(tmp_path) if "validation/hit_rate@1" in row]
    assert steps == [3, 6]
