import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milepost.callbacks import Callback, Loop, Record, Solo
from milepost.callbacks.monitors import JsonLines
from tests.kinds import CONVERTERS


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Watch(Callback):
    """Notes each error, and how often the training ended."""

    every = "1 step"

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.ends = 0
        self.triggers: list[int] = []

    def trigger(self) -> None:
        self.triggers.append(self.trainer.step)

    def on_exception(self, error: BaseException) -> None:
        self.errors.append(error)

    def after_train(self) -> None:
        self.ends += 1


def fail(error: BaseException) -> None:
    raise error


def test_a_loop_counts_steps_and_epochs() -> None:
    seen = []
    with Loop(None, monitors=[]) as loop:
        for epoch in loop.epochs(2):
            for batch in loop.steps("abc"):
                seen.append((epoch, batch, loop.epoch, loop.step))
    assert seen == [
        (0, "a", 0, 0),
        (0, "b", 0, 1),
        (0, "c", 0, 2),
        (1, "a", 1, 3),
        (1, "b", 1, 4),
        (1, "c", 1, 5),
    ]
    assert (loop.epoch, loop.step) == (2, 6)


def test_a_batch_that_updates_no_weights_is_no_step() -> None:
    watch, batches = Watch(), 0
    with Loop(None, callbacks=[watch], monitors=[], is_step=lambda: batches % 2 == 0) as loop:
        for _ in loop.epochs(1):
            for _ in loop.steps(range(5)):
                batches += 1
    assert watch.triggers == [1, 2]
    assert (loop.epoch, loop.step) == (1, 2)


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_in_the_body_reaches_every_callback_and_stays_itself(error: BaseException) -> None:
    watch = Watch()
    with pytest.raises(type(error)) as caught, Loop(None, callbacks=[watch], monitors=[]):
        fail(error)
    assert caught.value is error
    assert watch.errors == [error]
    assert watch.ends == 1


def test_an_error_of_the_clean_up_is_a_note_on_the_first() -> None:
    class Breaks(Watch):
        def after_train(self) -> None:
            msg = "the clean-up broke"
            raise OSError(msg)

    after = Watch()
    callbacks = [Breaks(), after]
    with pytest.raises(ValueError, match="mine") as caught, Loop(None, callbacks=callbacks):
        fail(ValueError("mine"))
    assert str(caught.value) == "mine"
    assert caught.value.__notes__[0].endswith("OSError: the clean-up broke\n")
    assert after.ends == 1


def test_a_step_that_is_broken_out_of_is_not_counted() -> None:
    watch, closed = Watch(), []

    def batches() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.append(True)

    with Loop(None, callbacks=[watch], monitors=[]) as loop:
        for _ in loop.epochs(1):
            for batch in loop.steps(batches()):
                if batch == 2:
                    break
            assert closed == [True]
        assert (loop.step, loop.epoch, watch.triggers) == (2, 1, [1, 2])


def test_an_epoch_that_is_broken_out_of_is_not_counted() -> None:
    with Loop(None, monitors=[]) as loop:
        for epoch in loop.epochs(5):
            if epoch == 2:
                break
        assert loop.epoch == 2


def test_a_stop_ends_steps_and_epochs_after_the_step(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Loop(None, monitors=[]) as loop:
        for _ in loop.epochs(3):
            for batch in loop.steps(range(4)):
                if batch == 1:
                    loop.request_stop("enough")
                    loop.request_stop("another reason")
        assert (loop.step, loop.epoch, loop.stop_reason) == (2, 0, "enough")
        assert list(loop.steps(range(4))) == []
    assert caplog.messages == ["the training stops at step 1: enough"]


def test_a_stop_between_epochs_counts_the_epoch() -> None:
    class Stop(Callback):
        def trigger(self) -> None:
            self.trainer.request_stop("one is enough")

    with Loop(None, callbacks=[Stop()], monitors=[]) as loop:
        for _ in loop.epochs(3):
            for _ in loop.steps(range(4)):
                pass
    assert (loop.step, loop.epoch) == (4, 1)


def test_a_loop_goes_on_where_its_state_was_taken() -> None:
    clock = Clock()
    with Loop(None, monitors=[], clock=clock) as loop:
        for _ in loop.epochs(2):
            for _ in loop.steps(range(3)):
                clock.now_s += 1.0
    again = Loop(None, monitors=[], clock=clock)
    again.load_state_dict(json.loads(json.dumps(loop.state_dict())))
    assert (again.step, again.epoch, again.elapsed_s) == (6, 2, 6.0)
    clock.now_s += 50.0
    with again:
        clock.now_s += 2.0
        assert list(again.epochs(4)) == [2, 3]
        assert again.elapsed_s == 8.0
        with pytest.raises(RuntimeError, match=r"^load the state before the training begins$"):
            again.load_state_dict({})
    clock.now_s += 50.0
    assert again.elapsed_s == 8.0


def test_logged_values_may_be_numbers_and_arrays_of_one_element() -> None:
    records: list[Record] = []
    with Loop(None, monitors=[records.append], clock=Clock()) as loop:
        values = {"a": 1, "b": np.float32(0.5), "c": np.ones((1, 1)), "d": True}
        loop.log(values)
        assert loop.monitors.get_latest("b") == 0.5
    assert records[0].scalars == {"a": 1.0, "b": 0.5, "c": 1.0, "d": 1.0}
    assert (records[0].runner, records[0].step, records[0].epoch) == (None, 0, 0)


@pytest.mark.parametrize("value", [*(convert(np.zeros(2)) for convert in CONVERTERS), "high", None])
def test_a_logged_value_that_is_no_number_is_an_error_that_names_it(value: Any) -> None:
    with (
        Loop(None, monitors=[]) as loop,
        pytest.raises(TypeError, match=r"^`scalars` must be single numbers, got 'train/x' of "),
    ):
        loop.log({"train/x": value})


def test_a_logged_name_may_not_be_that_of_a_records_field() -> None:
    with Loop(None, monitors=[]) as loop, pytest.raises(ValueError, match="scalars") as caught:
        loop.log({"step": 1, "loss": 2.0})
    assert str(caught.value) == (
        "`scalars` may not use the names of a record's own fields, got ['step']; rename them"
    )


def test_a_loop_is_used_inside_its_with_block_only() -> None:
    loop = Loop(None, monitors=[])
    uses: list[Any] = [
        lambda: loop.log({"a": 1}),
        lambda: next(loop.epochs(1)),
        lambda: next(loop.steps([1])),
        lambda: loop.world,
        lambda: loop.request_stop("now"),
    ]
    for use in uses:
        with pytest.raises(RuntimeError) as caught:
            use()
        assert str(caught.value) == "this loop is not entered; write `with Loop(...) as loop:`"
    with (
        loop,
        pytest.raises(RuntimeError, match=r"^this loop is entered already; make one Loop for each"),
        loop,
    ):
        pass
    assert isinstance(loop, Loop)


def test_a_loop_may_be_entered_again_to_go_on() -> None:
    watch = Watch()
    loop = Loop(None, callbacks=[watch], monitors=[])
    with loop:
        for _ in loop.steps(range(9)):
            loop.request_stop("a pause")
    with loop:
        assert isinstance(loop.world, Solo)
        list(loop.steps(range(2)))
    assert watch.triggers == [1, 2, 3]


def test_an_unwritable_rundir_is_an_error_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    watch = Watch()
    loop = Loop(None, callbacks=[watch], rundir=tmp_path / "file" / "run")
    with pytest.raises(OSError, match=r"^`rundir` must be a folder that can be written, got '.*/"):
        loop.__enter__()
    assert (watch.ends, watch.triggers) == (0, [])
    with pytest.raises(RuntimeError, match="not entered"):
        loop.log({"a": 1})


def test_a_rundir_gets_json_lines_tables_and_tensorboard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Loop(None, rundir=tmp_path / "runs" / "one") as loop:
        record = Record(runner="validation", scalars={"validation/x": 0.5}, step=3, epoch=1)
        loop.publish(record, dict)
    files = sorted(path.name for path in (tmp_path / "runs" / "one").iterdir())
    assert files[1].startswith("events.out.tfevents.")
    assert [files[0], *files[2:]] == ["environment.json", "metrics.jsonl", "tables"]
    assert "0.5000" in capsys.readouterr().out


def test_a_folder_that_holds_a_run_is_refused_unless_its_state_is_loaded(tmp_path: Path) -> None:
    first = Loop(None, rundir=tmp_path, monitors=[JsonLines(tmp_path / "metrics.jsonl")])
    with first:
        list(first.steps([1]))
        first.log({"train/loss": 1})
    with pytest.raises(FileExistsError, match="holds a run already"):
        Loop(None, rundir=tmp_path, monitors=[]).__enter__()
    resumed = Loop(None, rundir=tmp_path, monitors=[])
    resumed.load_state_dict(first.state_dict())
    with resumed:
        assert resumed.step == 1
