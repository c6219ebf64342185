"""A `fit` that ends by an error has ended for every callback, and leaves nothing behind."""

import contextlib
import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest

from milepost.callbacks import Callback, trainers
from milepost.callbacks.monitors import JsonLines
from tests.callbacks.trainers.keras_models import Measure, Watch, compiled, fit, x, y

HOOKS = ["on_epoch_begin", "on_train_batch_begin", "on_train_batch_end", "on_test_begin"]
HOOKS += ["on_test_batch_end", "on_epoch_end", "on_train_end"]


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """See that what dies in the body dies of itself."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def failing(hook: str, error: BaseException) -> Any:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    callback = keras.callbacks.Callback()
    setattr(callback, hook, fail)
    return callback


class FailingStep(keras.Sequential):
    error: BaseException = ValueError("the step broke")

    def train_step(self, data: Any) -> Any:
        raise self.error


class FailingTest(keras.Sequential):
    def test_step(self, data: Any) -> Any:
        msg = "the validation broke"
        raise ValueError(msg)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("is_first", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_an_error_of_another_callback_ends_the_training_at_once(hook: str, is_first: bool) -> None:
    watch, error = Watch(), ValueError("another callback broke")
    ours, other = trainers.keras(watch), failing(hook, error)
    callbacks = [other, ours] if is_first else [ours, other]
    with pytest.raises(ValueError, match=r"^another callback broke$") as caught:
        fit(compiled(), *callbacks, validation_data=(x, y))
    assert caught.value is error
    ended_already = hook == "on_train_end" and not is_first
    assert watch.errors == ([] if ended_already else [error])
    assert watch.ends == 1


@pytest.mark.slow
def test_an_error_before_the_training_ends_it_when_it_is_let_go() -> None:
    class Fails(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            msg = "it broke"
            raise ValueError(msg)

    watch = Watch()
    with no_collection(), pytest.raises(ValueError, match="it broke"):
        fit(compiled(), trainers.keras(watch), Fails())
    assert watch.ends == len(watch.errors) == 1


@pytest.mark.parametrize("error", [ValueError("the step broke"), KeyboardInterrupt()])
def test_an_error_of_the_step_ends_the_training_at_once(error: BaseException) -> None:
    watch = Watch()
    model = compiled(FailingStep)
    model.error = error
    with pytest.raises(type(error)) as caught:
        fit(model, trainers.keras(watch))
    assert watch.errors == [caught.value]
    assert watch.ends == 1


def test_an_error_of_the_validation_ends_the_training_when_it_is_let_go() -> None:
    watch = Watch()
    with no_collection(), pytest.raises(ValueError, match="the validation broke"):
        fit(compiled(FailingTest), trainers.keras(watch), validation_data=(x, y))
    assert [str(error) for error in watch.errors] == ["`model.fit` ended by an error"]
    assert watch.ends == 1


def test_a_second_fit_ends_a_first_whose_error_is_still_held() -> None:
    watch = Watch()
    trainer = trainers.keras(watch)
    with pytest.raises(ValueError, match="the validation broke") as caught:
        fit(compiled(FailingTest), trainer, validation_data=(x, y))
    assert watch.ends == 0
    fit(compiled(), trainer)
    assert watch.ends == 2
    assert str(watch.errors[0]) == "another training began"
    del caught
    gc.collect()
    assert (watch.ends, len(watch.errors)) == (2, 1)


@pytest.mark.parametrize("hook", ["setup", "before_train", "after_step", "trigger", "after_epoch"])
def test_an_error_of_our_own_callback_ends_the_training_once(hook: str) -> None:
    def broken(self: Callback) -> None:
        msg = "ours broke"
        raise OSError(msg)

    breaks, watch = type("Breaks", (Callback,), {hook: broken})(), Watch()
    with pytest.raises(OSError, match=r"^ours broke$") as caught:
        fit(compiled(), trainers.keras(watch, breaks))
    assert watch.errors == [caught.value]
    assert watch.ends == 1


def test_an_error_of_the_clean_up_is_raised_or_a_note_on_the_first() -> None:
    class Breaks(Callback):
        def after_train(self) -> None:
            msg = "the clean-up broke"
            raise OSError(msg)

    watch = Watch()
    with pytest.raises(OSError, match=r"^the clean-up broke$"):
        fit(compiled(), trainers.keras(Breaks(), watch))
    assert watch.ends == 1
    with pytest.raises(ValueError, match=r"^the step broke") as caught:
        fit(compiled(FailingStep), trainers.keras(Breaks(), watch))
    assert caught.value.__notes__[0].endswith("OSError: the clean-up broke\n")
    assert watch.ends == 2


def test_nothing_of_ours_stays_in_the_model_or_among_the_callbacks() -> None:
    for kind in (keras.Sequential, FailingStep):
        model = compiled(kind)
        model.make_train_function()
        before = model.train_function
        hooks = keras.callbacks.CallbackList([trainers.keras()], model=model, add_history=True)
        attributes = set(vars(hooks))
        with contextlib.suppress(ValueError):
            model.fit(x, y, verbose=0, callbacks=hooks)
        assert model.train_function is before
        assert set(vars(hooks)) == attributes


def test_monitors_are_closed_after_an_error(tmp_path: Path) -> None:
    monitor = JsonLines(tmp_path / "metrics.jsonl")
    trainer = trainers.keras(Measure(every="5 steps"), monitors=[monitor])
    with pytest.raises(ValueError, match="broke"):
        fit(compiled(), trainer, failing("on_epoch_end", ValueError("broke")))
    assert monitor._file is None
    steps = [json.loads(line)["step"] for line in monitor.path.read_text().splitlines()]
    assert steps == [5, 10, 12]


def test_a_training_may_be_fitted_again_after_an_error() -> None:
    watch = Watch("1 epoch")
    trainer = trainers.keras(watch)
    model = compiled()
    with pytest.raises(ValueError, match="broke"):
        fit(model, trainer, failing("on_epoch_begin", ValueError("broke")))
    fit(model, trainer)
    assert watch.triggers == [(12, 1)]
    assert watch.ends == 2


def test_the_end_of_the_data_is_no_error() -> None:
    watch = Watch()
    data = [(x[i : i + 2], y[i : i + 2]) for i in range(0, 24, 2)]
    with pytest.warns(UserWarning, match="ran out of data"):
        fit(
            compiled(),
            trainers.keras(watch),
            x=(batch for batch in data),
            y=None,
            batch_size=None,
            steps_per_epoch=20,
        )
    assert watch.errors == []
    assert watch.triggers[-1] == (12, 0)
