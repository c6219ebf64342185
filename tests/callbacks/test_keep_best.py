import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file as load_arrays

from milepost.callbacks import Callback, EarlyStop, KeepBest, Loop, Record
from tests.callbacks.keeping import METRIC, kept, publish, train, weights


@pytest.mark.parametrize(
    ("mode", "values", "best", "step"),
    [
        ("max", [0.1, 0.5, 0.3], 0.5, 1),
        (None, [0.1, 0.5, 0.3], 0.5, 1),
        ("min", [0.4, 0.2, 0.3], 0.2, 1),
        ("max", [0.5, 0.5], 0.5, 0),
        ("max", [math.nan, 0.1, math.nan], 0.1, 1),
        ("max", [0.2, math.inf, 0.1], 0.2, 0),
        ("min", [math.nan, -math.inf, 3.0], 3.0, 2),
    ],
)
def test_the_weights_of_the_best_value_are_kept(
    tmp_path: Path, mode: Any, values: list[float], best: float, step: int
) -> None:
    keep = KeepBest(METRIC, mode=mode)
    train(keep, values, tmp_path)
    assert (keep.best, keep.best_step) == (best, step)
    assert kept(tmp_path / "best.safetensors") == pytest.approx(best)
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]


def test_an_error_is_best_where_it_is_smallest(tmp_path: Path) -> None:
    keep = KeepBest("validation/error@1", path=tmp_path / "w")
    with Loop(None, callbacks=[keep], monitors=[]) as loop:
        for value in loop.steps([0.5, 0.25, 0.75]):
            publish(loop, value, weights(value), "validation/error@1")
    assert kept(tmp_path / "w") == 0.25


def test_the_header_says_what_the_weights_are(tmp_path: Path) -> None:
    keep = KeepBest(METRIC, path=tmp_path / "deep" / "er" / "w.safetensors")
    train(keep, [0.1, 0.75], None)
    with safe_open(tmp_path / "deep" / "er" / "w.safetensors", "np") as file:
        assert file.metadata() == {
            "format": "pt",
            "metric": METRIC,
            "value": "0.75",
            "step": "1",
            "epoch": "0",
        }


def test_the_place_in_the_list_does_not_matter(tmp_path: Path) -> None:
    class Examine(Callback):
        every = "1 step"

        def trigger(self) -> None:
            value = [0.1, 0.9, 0.3][self.trainer.step - 1]
            record = Record(scalars={METRIC: value}, step=self.trainer.step)
            self.trainer.publish(record, lambda: weights(value))

    for name, first in (("before", True), ("after", False)):
        keep = KeepBest(METRIC, path=tmp_path / name)
        callbacks = [keep, Examine()] if first else [Examine(), keep]
        with Loop(None, callbacks=callbacks, monitors=[]) as loop:
            list(loop.steps(range(3)))
        assert (keep.best, keep.best_step) == (0.9, 2)
        assert kept(tmp_path / name) == pytest.approx(0.9)


def test_a_resumed_training_does_not_overwrite_better_weights(tmp_path: Path) -> None:
    state = train(KeepBest(METRIC), [0.1, 0.5], tmp_path).state_dict()
    again = KeepBest(METRIC)
    train(again, [0.3], tmp_path, state=json.loads(json.dumps(state)))
    assert kept(tmp_path / "best.safetensors") == 0.5
    assert (again.best, again.best_step) == (0.5, 1)
    train(again, [0.75], tmp_path, state=state)
    assert kept(tmp_path / "best.safetensors") == 0.75


def test_arrays_are_kept_too(tmp_path: Path) -> None:
    keep = KeepBest(METRIC, path=tmp_path / "w")
    with Loop(None, callbacks=[keep], monitors=[]) as loop:
        publish(loop, 1.0, {"w": np.arange(6.0).reshape(2, 3).T, "scalar": np.array(2)})
    loaded = load_arrays(tmp_path / "w")
    assert loaded["w"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert loaded["scalar"].shape == ()


def test_the_file_can_be_read_by_those_who_may_read_other_files(tmp_path: Path) -> None:
    train(KeepBest(METRIC), [0.5], tmp_path)
    (tmp_path / "other").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_rank_that_is_not_the_chief_knows_the_best_and_writes_nothing(tmp_path: Path) -> None:
    keep = KeepBest(METRIC)
    with Loop(None, callbacks=[keep], rundir=tmp_path, monitors=[]) as loop:
        loop.world.rank = 1
        publish(loop, 0.5, weights(0.5))
        loop.world.rank = 0
    assert keep.best == 0.5
    assert list(tmp_path.iterdir()) == []


def test_a_metric_that_never_was_a_number_is_a_warning(tmp_path: Path) -> None:
    keep = KeepBest(METRIC)
    with pytest.warns(UserWarning, match=f"^KeepBest never saw a finite value of '{METRIC}'$"):
        train(keep, [math.nan, math.nan], tmp_path)
    assert keep.best is None


def test_a_metric_that_never_came_is_a_warning_with_the_nearest(tmp_path: Path) -> None:
    keep = KeepBest("other/hit_rate@1")
    with pytest.warns(UserWarning, match="never saw") as caught:
        train(keep, [0.5], tmp_path)
    assert str(caught[0].message) == (
        "KeepBest never saw 'other/hit_rate@1'; did you mean 'validation/hit_rate@1'? "
        "The metrics were: 'validation/hit_rate@1'"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [KeepBest, partial(EarlyStop, patience=1)])
def test_a_training_that_fails_is_no_cause_to_miss_the_metric(tmp_path: Path, make: Any) -> None:
    loop = Loop(None, callbacks=[make(METRIC)], rundir=tmp_path, monitors=[])
    with pytest.raises(ZeroDivisionError), loop:
        _ = 1 / 0


def test_a_misspelled_metric_is_a_warning_at_the_first_record_of_its_runner(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="unknown metric") as caught:
        train(KeepBest("validation/hitrate@1", mode="max"), [0.5, 0.6], tmp_path)
    assert [str(warning.message) for warning in caught] == [
        "unknown metric 'validation/hitrate@1'; did you mean 'validation/hit_rate@1'? "
        "There are: 'validation/hit_rate@1'"
    ]


def test_a_metric_without_its_runner_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match=r"^`metric` must be a full name such as"):
        KeepBest("hit_rate@1")


def test_no_place_for_the_file_is_an_error_before_the_training() -> None:
    loop = Loop(None, callbacks=[KeepBest(METRIC)], monitors=[])
    with pytest.raises(ValueError, match="KeepBest") as caught:
        loop.__enter__()
    assert str(caught.value) == (
        "KeepBest needs a place: give it a `path`, or the training a `rundir`"
    )


def test_a_wrong_mode_is_an_error() -> None:
    with pytest.raises(ValueError, match="mode") as caught:
        KeepBest(METRIC, mode="best")  # type: ignore[arg-type]
    assert str(caught.value) == "`mode` must be 'max' or 'min', got 'best'"


@pytest.mark.parametrize(
    ("metric", "hint"),
    [
        ("validation/hitrate@1", "; did you mean 'hit_rate'?"),
        ("validation/rows_saved", ""),
        ("validation/margin", ""),
    ],
)
def test_a_metric_whose_name_does_not_tell_its_mode_is_an_error(metric: str, hint: str) -> None:
    with pytest.raises(ValueError, match="mode") as caught:
        KeepBest(metric)
    assert str(caught.value) == (
        f"`mode` must be 'max' or 'min' for {metric!r}, whose name does not tell, got None{hint}"
    )
