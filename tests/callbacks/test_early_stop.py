import math
from typing import Any

import pytest

from milepost.callbacks import EarlyStop, Loop, Record

METRIC = "validation/map@r"


def train(stop: EarlyStop, values: list[float | None], state: Any = None) -> Loop:
    """Publish a value a step (None: a record of another runner) until the stop."""
    loop = Loop(None, callbacks=[stop], monitors=[])
    if state is not None:
        loop.load_state_dict(state)
    with loop:
        for value in loop.steps(values):
            scalars = {"other/x": 1.0} if value is None else {METRIC: value}
            loop.publish(Record(scalars=scalars, step=loop.step), dict)
    return loop


@pytest.mark.parametrize(
    ("more", "values", "steps"),
    [
        ({"patience": 1}, [0.1, 0.2, 0.2, 0.3], 3),
        ({"patience": 2}, [0.1, 0.1, 0.2, 0.1, 0.1, 0.9], 5),
        ({"patience": 2, "mode": "min"}, [3.0, 2.0, 2.5, 2.5, 1.0], 4),
        ({"patience": 2, "min_delta": 0.25}, [0.0, 0.25, 0.5, 0.75, 0.75], 5),
        ({"patience": 2}, [0.1, None, None, None, 0.1, None, 0.1, 0.5], 7),
        ({"patience": 2}, [0.5, math.nan, math.nan, 0.9], 3),
        ({"patience": 3}, [math.nan, math.nan, math.nan, 0.9], 3),
        ({"patience": 9}, [0.5, 0.4, 0.3], 3),
    ],
)
def test_patience_counts_the_evaluations_that_hold_the_metric(
    more: dict[str, Any], values: list[float | None], steps: int
) -> None:
    assert train(EarlyStop(METRIC, **more), values).step == steps


def test_a_loss_improves_by_falling() -> None:
    stop = EarlyStop("validation/loss", patience=1)
    with Loop(None, callbacks=[stop], monitors=[]) as loop:
        for value in loop.steps([3.0, 2.0, 1.0, 1.5, 0.0]):
            loop.publish(Record(scalars={"validation/loss": value}, step=loop.step), dict)
    assert loop.step == 4


def test_the_reason_names_the_metric_and_its_best() -> None:
    loop = train(EarlyStop(METRIC, patience=2), [0.1, 0.5, 0.4, 0.3])
    assert loop.stop_reason == (
        "validation/map@r has not improved for 2 evaluations; the best was 0.5 at step 1"
    )


def test_the_reason_tells_of_a_metric_that_never_was_a_number() -> None:
    loop = train(EarlyStop(METRIC, patience=2), [math.nan, math.nan])
    assert loop.stop_reason == (
        "validation/map@r has not improved for 2 evaluations; it was never finite"
    )


def test_a_resumed_training_keeps_the_count() -> None:
    state = train(EarlyStop(METRIC, patience=3), [0.5, 0.4, 0.4]).state_dict()
    assert train(EarlyStop(METRIC, patience=3), [0.4, 0.9], state).step == 4


def test_a_metric_that_never_came_is_a_warning() -> None:
    with pytest.warns(UserWarning, match="never saw") as caught:
        train(EarlyStop("validation/loss", patience=1), [])
    assert str(caught[0].message) == (
        "EarlyStop never saw 'validation/loss'; the metrics were: none"
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"patience": 0}, "`patience` must be a whole number above 0, got 0"),
        ({"patience": 1.5}, "`patience` must be a whole number above 0, got 1.5"),
        ({"patience": 1, "mode": "up"}, "`mode` must be 'max' or 'min', got 'up'"),
        ({"patience": 1, "min_delta": -1.0}, "`min_delta` must be 0 or more, got -1.0"),
        (
            {"patience": 1, "min_delta": math.nan},
            "`min_delta` must be 0 or more, got nan",
        ),
    ],
)
def test_a_wrong_argument_is_an_error(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="`") as caught:
        EarlyStop(METRIC, **more)
    assert str(caught.value) == message
