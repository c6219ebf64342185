import contextlib
import itertools
import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.callbacks import (
    At,
    Budget,
    Callback,
    Every,
    Loop,
    Moment,
    Schedule,
    Scheduled,
    Timer,
    at_end,
    at_start,
    schedule,
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Note(Callback):
    """Notes the step at which it is triggered."""

    def __init__(self, every: Scheduled) -> None:
        self.every = every
        self.steps: list[int] = []

    def trigger(self) -> None:
        self.steps.append(self.trainer.step)


class Killed(BaseException):
    pass


def train(
    every: Scheduled,
    *,
    epochs: int = 3,
    steps_per_epoch: int = 4,
    step_s: float = 1.0,
    until: int | None = None,
    state: dict[str, Any] | None = None,
) -> tuple[list[int], dict[str, Any]]:
    """Train, from a state, until a number of steps; give the steps triggered, and the state."""
    note, clock = Note(every), Clock()
    loop = Loop(None, callbacks=[note], monitors=[], clock=clock)
    if state is not None:
        loop.load_state_dict(state)
    saved: dict[str, Any] = {}
    with contextlib.suppress(Killed), loop:
        for epoch in loop.epochs(epochs):
            for _ in loop.steps(range((epoch + 1) * steps_per_epoch - loop.step)):
                if loop.step == until:
                    saved = json.loads(json.dumps(loop.state_dict()))
                    raise Killed
                clock.now_s += step_s
    return note.steps, saved


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        ("3 steps", [3, 6, 9, 12]),
        ("1 epoch", [4, 8, 12]),
        ("2 epochs", [8]),
        ("4 steps | 1 epoch", [4, 8, 12]),
        ("3 steps | 1 epoch", [3, 4, 6, 8, 9, 12]),
        ("4 steps & 1 epoch", [4, 8, 12]),
        ("3 steps & 1 epoch", [12]),
        ("5 s", [5, 10]),
        ("at start", [0]),
        ("at end", [12]),
        ("1 epoch | at start | at end", [0, 4, 8, 12]),
        ("5 steps | at end", [5, 10, 12]),
        ("4 steps & at end", [12]),
        ("5 steps & at end", []),
        (At(steps=[0, 1, 10, 100]), [0, 1, 10]),
        (At(epochs=[0, 2]), [0, 8]),
        (lambda moment: moment.step == 7, [7]),
        (Every(steps=6) | (lambda moment: moment.step == 7), [6, 7, 12]),
        ("6 steps" | Every(epochs=2), [6, 8, 12]),
        ((lambda moment: moment.step > 4) & Every(steps=2), [6, 8, 10, 12]),
    ],
)
def test_a_schedule_fires_once_a_moment_and_on_its_boundaries(
    every: Scheduled, steps: list[int]
) -> None:
    assert train(every)[0] == steps


@settings(max_examples=60, deadline=None)
@given(
    every=st.sampled_from(
        ["3 steps", "1 epoch", "5 steps & 1 epoch", "3 steps | 2 epochs", "7 s", "2 steps & 5 s"]
    ),
    until=st.integers(0, 11),
    steps_per_epoch=st.integers(1, 5),
    step_s=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_a_training_resumed_at_any_step_fires_where_it_would_have(
    every: str, until: int, steps_per_epoch: int, step_s: float
) -> None:
    sizes: dict[str, Any] = {"steps_per_epoch": steps_per_epoch, "step_s": step_s}
    whole, _ = train(every, **sizes)
    first, state = train(every, until=min(until, 3 * steps_per_epoch - 1), **sizes)
    second, _ = train(every, state=state, **sizes)
    assert first + second == whole


def test_what_fires_at_the_start_does_not_fire_at_a_resume() -> None:
    _, state = train("at start | 6 steps", until=6)
    assert train("at start | 6 steps", state=state)[0] == [12]


def test_a_boundary_that_is_skipped_fires_at_the_next_moment() -> None:
    timer = Timer("3 steps")
    assert [s for s in (1, 5, 5, 10, 11, 12) if timer.due(Moment(step=s))] == [5, 10, 12]


def test_without_history_a_moment_fires_if_it_is_a_multiple_itself() -> None:
    assert not Timer("500 steps").due(Moment(step=0))
    assert not Timer("500 steps").due(Moment(step=501))
    assert Timer("500 steps").due(Moment(step=1000))
    assert not Timer("500 steps").due(Moment(step=1000, phase="start"))


def test_a_count_that_went_back_is_another_training() -> None:
    timer = Timer("3 steps")
    assert [s for s in (5, 9, 1, 2, 3, 6) if timer.due(Moment(step=s))] == [9, 3, 6]


def test_epochs_without_counted_steps_are_moments_of_their_own() -> None:
    timer = Timer("1 epoch")
    timer.due(Moment(step=0, epoch=0, phase="start"))
    due = [timer.due(Moment(step=0, epoch=epoch, phase="epoch")) for epoch in (1, 2, 3)]
    assert due == [True, True, True]


def test_only_epochs_can_be_counted() -> None:
    timer = Timer("2 epochs")
    assert [e for e in (1, 1, 2, 2, 3, 4) if timer.due(Moment(epoch=e))] == [2, 4]


def test_only_the_clock_can_be_read() -> None:
    timer = Timer("1 min")
    times = (0.0, 30.0, 59.0, 61.0, 62.0, 150.0)
    assert [t for t in times if timer.due(Moment(elapsed_s=t))] == [61.0, 150.0]


def test_the_time_of_a_run_crosses_no_boundary_of_its_own_schedule() -> None:
    timer = Timer("20 s")
    timer.due(Moment(step=1, elapsed_s=19.0))
    assert timer.due(Moment(step=2, elapsed_s=20.0))
    timer.spend(25.0)
    assert not timer.due(Moment(step=3, elapsed_s=46.0))
    assert timer.due(Moment(step=4, elapsed_s=60.0))


def budget_runs(share: float, costs_s: Iterator[float]) -> list[tuple[float, float]]:
    """Spent and elapsed seconds at the end of each run, of a training of 2,000 one-second steps."""
    timer, elapsed_s, runs = Timer(Budget(share)), 0.0, []
    for step in range(1, 2001):
        elapsed_s += 1.0
        if timer.due(Moment(step=step, elapsed_s=elapsed_s)):
            cost_s = next(costs_s)
            timer.spend(cost_s)
            elapsed_s += cost_s
            runs.append((timer.spent_s, elapsed_s))
    return runs


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_a_budget_keeps_its_share_after_the_first_run(share: float, seed: int) -> None:
    random = Random(seed)
    longest_s = random.uniform(0.1, 20.0)
    costs_s = (random.uniform(0.1, longest_s) for _ in itertools.count())
    runs = budget_runs(share, itertools.chain([longest_s], costs_s))
    assert all(spent_s <= share * elapsed_s * (1 + 1e-9) for spent_s, elapsed_s in runs[1:])


def test_a_budget_is_used() -> None:
    spent_s, elapsed_s = budget_runs(0.05, iter([2.0] * 2000))[-1]
    assert 0.045 < spent_s / elapsed_s <= 0.05


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500 steps", Every(steps=500)),
        ("1 step", Every(steps=1)),
        ("1 epoch", Every(epochs=1)),
        (" 2  epochs ", Every(epochs=2)),
        ("20 min", Every(minutes=20)),
        ("1.5 minutes", Every(minutes=1.5)),
        ("30 s", Every(seconds=30)),
        ("30s", Every(seconds=30)),
        ("5%", Budget(0.05)),
        ("0.5 %", Budget(0.005)),
        ("at start", at_start),
        ("at end", at_end),
        ("500 steps | at end", Every(steps=500) | at_end),
        ("4 steps & 1 epoch | at end", (Every(steps=4) & Every(epochs=1)) | at_end),
    ],
)
def test_a_string_means_a_schedule(text: str, expected: Schedule) -> None:
    assert schedule(text) == expected


def test_and_binds_tighter_than_or_in_words_too() -> None:
    joined = (Every(steps=2) | at_end) & "1 epoch"
    assert repr(joined) == "(Every(steps=2) | at_end) & Every(epochs=1)"


FORMS = (
    "rite '500 steps', '1 epoch', '20 min', '30 s', '5%', 'at start' or 'at end', "
    "joined by '|' and '&'"
)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("500 stepps", "did you mean '500 steps'? W"),
        ("2 epcohs", "did you mean '2 epochs'? W"),
        ("at strat", "did you mean 'at start'? W"),
        ("yesterday evening", "w"),
        ("", "w"),
        ("-3 steps", "did you mean '1 steps'? W"),
    ],
)
def test_an_unknown_string_is_an_error_with_the_forms_and_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r"`every`") as caught:
        schedule(text)
    assert str(caught.value) == f"`every` is no schedule, got {text!r}; {hint}{FORMS}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Every(), "`Every` takes one of steps, epochs, minutes and seconds, got none"),
        (
            lambda: Every(steps=1, epochs=1),
            "`Every` takes one of steps, epochs, minutes and seconds, got steps, epochs",
        ),
        (lambda: Every(steps=0), "`steps` must be a whole number above 0, got 0"),
        (lambda: schedule("1.5 epochs"), "`epochs` must be a whole number above 0, got 1.5"),
        (lambda: Every(minutes=-1), "`minutes` must be above 0, got -1"),
        (lambda: Every(seconds=float("nan")), "`seconds` must be above 0, got nan"),
        (lambda: At(), "`At` takes one of steps and epochs, got steps=None, epochs=None"),
        (lambda: At(steps=[]), "`At` takes whole numbers from 0, got []"),
        (lambda: At(epochs=[-1]), "`At` takes whole numbers from 0, got [-1]"),
        (lambda: Budget(1.0), "`share` must be above 0 and below 1, got 1.0"),
        (lambda: schedule("0%"), "`share` must be above 0 and below 1, got 0.0"),
    ],
)
def test_a_wrong_value_is_an_error(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match="`") as caught:
        make()
    assert str(caught.value) == message


def test_what_is_no_schedule_is_a_type_error() -> None:
    with pytest.raises(TypeError) as caught:
        schedule(500)  # type: ignore[arg-type]
    assert str(caught.value) == "`every` must be a schedule, a string or a function, got 500"


@pytest.mark.parametrize(
    ("every", "clock"),
    [("5 steps", "step"), ("1 epoch", "epoch"), ("1 min", "elapsed_s"), ("5%", "elapsed_s")],
)
def test_a_clock_that_is_not_given_is_an_error(every: str, clock: str) -> None:
    with pytest.raises(ValueError, match="needs") as caught:
        Timer(every).due(Moment())
    assert str(caught.value) == (
        f"{schedule(every)!r} needs `{clock}`, which is not given; pass `{clock}=` where you ask"
    )


@pytest.mark.parametrize(
    ("every", "agrees"),
    [
        ("5 steps", True),
        ("1 epoch | at start | at end", True),
        (At(steps=[1]), True),
        ("1 min", False),
        ("5%", False),
        (lambda moment: True, False),
        ("5 steps | 1 min", False),
    ],
)
def test_what_reads_a_clock_or_calls_a_function_is_the_chiefs_to_decide(
    every: Scheduled, agrees: bool
) -> None:
    assert schedule(every).agrees is agrees
