import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milepost.callbacks import Loop, Record

PICTURE = np.zeros((2, 3, 3), np.uint8)


@pytest.mark.parametrize(
    "wrong", [PICTURE.astype(np.float32), PICTURE[0], PICTURE[..., :1], PICTURE[:0]]
)
def test_a_picture_is_rgb_of_bytes(wrong: np.ndarray[Any, Any]) -> None:
    with pytest.raises(TypeError) as caught:
        Record(pictures={"a": wrong})
    assert str(caught.value) == (
        "`pictures` must be uint8 of shape (height, width, 3), "
        f"got 'a' of {wrong.dtype} and shape {wrong.shape}"
    )


def test_a_histogram_is_a_row_of_floats() -> None:
    for wrong in (np.zeros((2, 2)), np.zeros(3, int)):
        with pytest.raises(TypeError) as caught:
            Record(histograms={"a": wrong})
        assert str(caught.value) == (
            f"`histograms` must be floats of shape (N,), got 'a' of {wrong.dtype} "
            f"and shape {wrong.shape}"
        )


def test_a_name_stands_once() -> None:
    for taken in ("a", "step"):
        with pytest.raises(ValueError, match="names of their own, got") as caught:
            Record(scalars={"a": 1.0}, pictures={taken: PICTURE, "b": PICTURE})
        assert str(caught.value) == (
            f"`pictures` and `histograms` must have names of their own, got [{taken!r}]"
        )


def test_what_a_training_logs_besides_scalars_is_brought_into_shape() -> None:
    given: list[Record] = []
    with Loop(None, monitors=[given.append]) as loop:
        loop.log({"x": 1.0}, pictures={"p": PICTURE})
        loop.log(histograms={"h": [[1, 2], [3, 4]], "half": np.zeros((2, 2), np.float16)})
    assert given[0].scalars == {"x": 1.0}
    assert given[0].pictures["p"].shape == (2, 3, 3)
    assert given[1].histograms["h"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert given[1].histograms["half"].dtype == np.float16


def test_files_and_terminal_leave_out_what_is_nothing_but_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Loop(None, rundir=tmp_path) as loop:
        loop.monitors.write(Record(runner="validation", pictures={"validation/roc": PICTURE}))
        loop.log({"x": 1.0}, pictures={"p": PICTURE})
    assert capsys.readouterr().out == ""
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["x"] for line in lines] == [1.0]
