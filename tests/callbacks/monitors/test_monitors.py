import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import pytest

from milepost.callbacks import Loop, Record, Solo
from milepost.callbacks.monitors import JsonLines, MLflow, Monitor, Monitors, TensorBoard, WandB
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


@pytest.mark.parametrize(
    ("module", "extra", "make"),
    [
        ("tensorboard.summary.writer.record_writer", "tensorboard", TensorBoard),
        ("wandb", "wandb", lambda folder: WandB(init={"dir": str(folder)})),
        ("mlflow", "mlflow", lambda folder: MLflow()),
    ],
)
@pytest.mark.parametrize("found", [None, ModuleType("folder")], ids=["nothing", "folder"])
def test_without_its_package_a_monitor_says_what_brings_it(
    module: str,
    extra: str,
    make: Callable[[Path], Monitor],
    found: ModuleType | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, found)  # a folder of that name is a module too
    with pytest.raises(ImportError) as caught:
        make(tmp_path).open()
    assert (
        str(caught.value) == f'{extra} is not installed; pip install "milepost[{extra}]" brings it'
    )


def test_without_pillow_a_picture_is_an_error_that_says_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monitor = TensorBoard(tmp_path)
    with pytest.raises(ImportError) as caught:
        monitor.write(Record(pictures={"a": np.zeros((1, 1, 3), np.uint8)}))
    assert str(caught.value) == 'pillow is not installed; pip install "milepost[report]" brings it'
    monitor.close()


class Watch(Monitor):
    """Notes what it is told besides records."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def describe(self, config: Mapping[str, Any]) -> None:
        self.told.append(config)

    def write(self, record: Record) -> None:
        self.told.append(dict(record.scalars))

    def on_exception(self, error: BaseException) -> None:
        self.told.append(error)

    def close(self) -> None:
        self.told.append("closed")


def test_an_error_that_ends_the_training_is_told_before_the_end() -> None:
    watch, error = Watch(), KeyboardInterrupt()
    Monitors([watch]).describe({"lr": 0.1})
    with Loop(None, monitors=[watch]) as loop:
        loop.log({"x": 1.0})
    with pytest.raises(KeyboardInterrupt), Loop(None, monitors=[watch]):
        raise error
    assert watch.told == [{"lr": 0.1}, {"x": 1.0}, "closed", error, "closed"]


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
