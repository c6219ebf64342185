import csv
import math
from pathlib import Path

import pytest

from milepost.callbacks import Record
from milepost.callbacks.monitors import Csv


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def test_a_row_has_a_cell_for_every_name(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "metrics.csv"
    monitor = Csv(path)
    scalars = {"validation/hit_rate@1": 0.75, "validation/eer": math.nan, "big": math.inf}
    timings = {"validation/time/load_s": 0.5}
    monitor.write(
        Record(runner="validation", step=12, epoch=3, time=9.5, scalars=scalars, timings=timings)
    )
    assert path.read_text() == (
        "runner,step,epoch,time,elapsed_s,error,"
        "validation/hit_rate@1,validation/eer,big,validation/time/load_s\n"
        "validation,12,3,9.5,,,0.75,nan,inf,0.5\n"
    )
    monitor.close()


def test_a_name_that_comes_later_is_a_further_column(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    monitor = Csv(path)
    for scalars in ({"a": 1.0}, {"b,c": 2.0}, {"a": 3.0, "d\ne": 4.0}):
        monitor.write(Record(time=0.0, scalars=scalars))
    monitor.close()
    names = ("a", "b,c", "d\ne")
    assert [[row[name] for name in names] for row in rows(path)] == [
        ["1.0", "", ""],
        ["", "2.0", ""],
        ["3.0", "", "4.0"],
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_there_keeps_its_rows_and_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,mine\n1,x\n")
    monitor = Csv(path)
    monitor.write(Record(step=2, scalars={"a": 0.5}))
    monitor.close()
    assert [(row["step"], row["mine"], row["a"]) for row in rows(path)] == [
        ("1", "x", ""),
        ("2", "", "0.5"),
    ]


def test_a_row_that_a_killed_run_left_unfinished_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    monitor = Csv(path)
    monitor.write(Record(step=1, scalars={"a": 0.5, "b": 0.25}))
    monitor.close()
    with path.open("a") as file:
        file.write(",2,,17.5,,,0.1")
    monitor = Csv(path)
    monitor.write(Record(step=2, scalars={"a": 0.75, "b": 1.0}))
    monitor.close()
    assert [(row["step"], row["a"], row["b"]) for row in rows(path)] == [
        ("1", "0.5", "0.25"),
        ("2", "0.75", "1.0"),
    ]


def test_an_error_is_one_line(tmp_path: Path) -> None:
    monitor = Csv(tmp_path / "metrics.csv")
    monitor.write(Record(step=1, scalars={}, error="ValueError: two\nlines, of 日本"))
    monitor.close()
    assert [row["error"] for row in rows(monitor.path)] == ["ValueError: two lines, of 日本"]


def test_a_file_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Csv(tmp_path / "file" / "metrics.csv").open()
