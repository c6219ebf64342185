import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milepost.callbacks import Record
from milepost.callbacks.monitors import JsonLines


def lines(path: Path) -> list[Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return [json.loads(line, parse_constant=refuse) for line in path.read_bytes().splitlines()]


def test_a_line_is_flat_and_names_everything(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "metrics.jsonl"
    monitor = JsonLines(path)
    monitor.write(
        Record(
            runner="validation",
            step=12,
            epoch=3,
            elapsed_s=1.5,
            time=1000.0,
            scalars={"validation/hit_rate@1": 0.75, "validation/eer": math.nan},
            timings={"validation/time/load_s": 0.5},
            coverage={"query": 8, "gallery": 20},
        )
    )
    monitor.write(Record(time=1001.0, scalars={"train/loss": -math.inf}, error="it broke"))
    assert lines(path) == [
        {
            "runner": "validation",
            "step": 12,
            "epoch": 3,
            "time": 1000.0,
            "elapsed_s": 1.5,
            "validation/hit_rate@1": 0.75,
            "validation/eer": None,
            "validation/time/load_s": 0.5,
            "coverage/query": 8,
            "coverage/gallery": 20,
        },
        {
            "runner": None,
            "step": None,
            "epoch": None,
            "time": 1001.0,
            "elapsed_s": None,
            "train/loss": None,
            "error": "it broke",
        },
    ]
    monitor.close()


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    monitor = JsonLines(path)
    scalars: Any = {"a": np.float32(0.5), "b": 3}
    monitor.write(Record(scalars=scalars))
    monitor.close()
    assert [lines(path)[0][name] for name in "ab"] == [0.5, 3.0]


def test_a_line_that_a_killed_run_left_unfinished_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "valid')
    monitor = JsonLines(path)
    monitor.write(Record(step=2, scalars={}))
    monitor.write(Record(step=3, scalars={}))
    monitor.close()
    first, broken, *rest = path.read_text().splitlines()
    assert (first, broken) == ('{"step": 1}', '{"step": 2, "valid')
    assert [json.loads(line)["step"] for line in rest] == [2, 3]


def test_a_file_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        JsonLines(tmp_path / "file" / "metrics.jsonl").open()
