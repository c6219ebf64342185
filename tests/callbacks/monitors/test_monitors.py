from pathlib import Path
from typing import NoReturn

import pytest

from milepost.callbacks import Loop, Record, Solo
from milepost.callbacks.monitors import JsonLines, Monitor, Monitors
from milepost.errors import UnknownNameError


def test_the_latest_value_and_the_history_can_be_asked_for() -> None:
    monitors = Monitors()
    monitors.write(Record(scalars={"a": 1.0}, step=1, timings={"t": 0.5}))
    monitors.write(Record(scalars={"b": 2.0}, step=2))
    monitors.write(Record(scalars={"a": 3.0}))
    assert monitors.get_latest("a") == 3.0
    assert monitors.get_history("a") == [(1, 1.0), (None, 3.0)]
    assert monitors.get_history("t") == [(1, 0.5)]


def test_an_unknown_metric_is_an_error_with_the_nearest() -> None:
    monitors = Monitors()
    monitors.write(Record(scalars={"validation/hit_rate@1": 1.0}))
    for ask in (monitors.get_latest, monitors.get_history):
        with pytest.raises(UnknownNameError) as caught:
            ask("validation/hitrate@1")
        assert str(caught.value) == (
            "unknown metric 'validation/hitrate@1'; did you mean 'validation/hit_rate@1'? "
            "There are: 'validation/hit_rate@1'"
        )


class Full(Monitor):
    def write(self, record: Record) -> NoReturn:
        msg = "no space left"
        raise OSError(msg)

    flush = close = write  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "Full()"


def test_a_monitor_that_fails_is_one_warning_and_the_others_still_write(tmp_path: Path) -> None:
    given: list[Record] = []
    path = tmp_path / "metrics.jsonl"
    loop = Loop(None, monitors=[Full(), JsonLines(path), given.append])
    with loop:
        with pytest.warns(RuntimeWarning, match="Full") as caught:
            loop.log({"x": 1.0})
        loop.log({"x": 2.0})
    assert [str(warning.message) for warning in caught] == [
        "Full() failed (OSError: no space left); the training goes on"
    ]
    assert len(given) == len(path.read_text().splitlines()) == 2
    assert loop.monitors.get_history("x") == [(0, 1.0), (0, 2.0)]


def test_what_is_no_monitor_is_an_error() -> None:
    for wrong in (3, JsonLines):
        with pytest.raises(TypeError, match=r"^`monitors` must hold monitors and functions, got "):
            Monitors([wrong])  # type: ignore[list-item]


def test_a_rank_that_is_not_the_chief_has_the_history_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Solo, "rank", 1)
    with Loop(None, rundir=tmp_path / "run") as loop:
        loop.log({"x": 2.0})
        assert loop.monitors.get_latest("x") == 2.0
    assert not (tmp_path / "run").exists()
