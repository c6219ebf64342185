"""A training that callbacks go along with, whoever drives it."""

import abc
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from milepost.callbacks._callback import Callback
from milepost.callbacks._callbacks import Callbacks
from milepost.callbacks._clean_up import run_all
from milepost.callbacks._record import Array, Record
from milepost.callbacks._rundir import prepare_rundir
from milepost.callbacks._world import World, current_world
from milepost.callbacks.monitors import Monitor, Monitors, default_monitors
from milepost.predictors import Predictor, get_predictor, to_numpy

_log = logging.getLogger("milepost")


class Training(abc.ABC):
    """The counts, the clock, the monitors and the folder of a training: a `Trainer`.

    Who drives it calls `_begin`; counts `_step` and `_epoch`, and runs the hooks of `_callbacks`,
    as they pass; and calls `_end`. It may begin again: the counts and the clock go on.

    Args:
        callbacks: run at their moments, in this order.
        rundir: the folder of this training's files; made if it is not there.
        monitors: where records go: monitors, and functions that are given each record; None for
            the usual ones.
        ema: a model that holds averaged weights, kept by the user.
        clock: seconds that only grow.
        terminal: whether the terminal is one of the usual monitors.
        host: one more of the usual monitors: the log of the framework that drives it.

    Attributes:
        model: the model in training.
        stop_reason: why the training was asked to end; None if it was not.
    """

    model: Any

    def __init__(
        self,
        callbacks: Iterable[Callback],
        *,
        rundir: str | Path | None,
        monitors: Iterable[Monitor | Callable[[Record], object]] | None,
        ema: Any,
        clock: Callable[[], float],
        terminal: bool = True,
        host: Monitor | None = None,
    ) -> None:
        self.ema = ema
        self.rundir = None if rundir is None else Path(rundir)
        self.stop_reason: str | None = None
        self._callbacks = Callbacks(callbacks)
        if monitors is None:
            usual = default_monitors(self.rundir, terminal=terminal)
            monitors = usual if host is None else [*usual, host]
        self._own_monitors = self.monitors = Monitors(monitors)
        self._clock = clock
        self._began_s = 0.0
        self._elapsed_s = 0.0
        self._step = 0
        self._epoch = 0
        self._world: World | None = None

    @property
    def step(self) -> int:
        """Steps completed."""
        return self._step

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self._epoch

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far, those before a resume included."""
        running = 0.0 if self._world is None else self._clock() - self._began_s
        return self._elapsed_s + running

    @property
    def world(self) -> World:
        """The processes that train together."""
        return self._running()

    def log(
        self,
        scalars: Mapping[str, Any] = MappingProxyType({}),
        *,
        pictures: Mapping[str, Any] | None = None,
        histograms: Mapping[str, Any] | None = None,
    ) -> None:
        """Log scalars, pictures and histograms of the training, under the steps completed.

        Args:
            scalars: numbers, or arrays and tensors of one element (one on a GPU is waited for).
            pictures: arrays or tensors of shape (height, width, 3), uint8, RGB.
            histograms: arrays or tensors of numbers; how their values are distributed is shown.
        """
        self._running()
        shown = {name: to_numpy(x) for name, x in (pictures or {}).items()}
        values = {name: _values(to_numpy(x)) for name, x in (histograms or {}).items()}
        self.monitors.write(
            Record(
                step=self._step,
                epoch=self._epoch,
                elapsed_s=self.elapsed_s,
                scalars={name: _number(name, value) for name, value in scalars.items()},
                pictures=shown,
                histograms=values,
            )
        )

    @property
    def takes_tables(self) -> bool:
        """Whether a monitor or a callback looks at the tables of records."""
        return self.monitors.takes_tables or self._callbacks.takes_tables

    def get_predictor(
        self,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str | int] | None = None,
        *,
        device: Any = None,
        weights: Literal["live", "ema", "snapshot"] = "live",
    ) -> Predictor:
        """Return the model in inference mode; see `milepost.get_predictor`."""
        return get_predictor(
            self.model, inputs, outputs, device=device, weights=weights, ema=self.ema
        )

    def publish(self, record: Record, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Log the record of an evaluation, and show it to every callback."""
        self._running()
        self.monitors.write(record)
        self._callbacks.on_metrics(record, weights)

    def request_stop(self, reason: str) -> None:
        """End the training after this step; the first reason is kept. Every rank calls it."""
        if self.stop_reason is None:
            self.stop_reason = reason
            if self._running().is_chief:
                _log.warning("the training stops at step %d: %s", self._step, reason)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs, to save beside the model's own state."""
        return {
            "step": self._step,
            "epoch": self._epoch,
            "elapsed_s": self.elapsed_s,
            "callbacks": self._callbacks.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            RuntimeError: the training has begun already.
        """
        if self._world is not None:
            msg = "load the state before the training begins"
            raise RuntimeError(msg)
        self._step = state["step"]
        self._epoch = state["epoch"]
        self._elapsed_s = state["elapsed_s"]
        self._callbacks.load_state_dict(state["callbacks"])

    @property
    @abc.abstractmethod
    def _outside(self) -> str:
        """What to say to who needs a training that runs, where none does."""

    def _running(self) -> World:
        if self._world is None:
            raise RuntimeError(self._outside)
        return self._world

    @contextmanager
    def _ended_by_errors(self) -> Iterator[None]:
        """End the training if the body raises."""
        try:
            yield
        except BaseException as error:
            self._end_by(error)
            raise

    def _begin(self) -> None:
        """Open folder and monitors, and set the callbacks up."""
        self._world = current_world()
        self.stop_reason = None
        self._began_s = self._clock()
        self._open()
        self._callbacks.trainer = self
        self._callbacks.setup()

    def _open(self) -> None:
        """Make the folder and the monitors ready on the chief; all ranks raise if they are not."""
        world = self._running()
        self.monitors = self._own_monitors if world.is_chief else Monitors()
        error: Exception | None = None
        try:
            if self.rundir is not None and world.is_chief:
                prepare_rundir(self.rundir, new=not self._step and not self._elapsed_s)
            self.monitors.open()
        except Exception as failure:  # raised on every rank
            error = failure
        world.raise_together(error)

    def _end_by(self, error: BaseException) -> None:
        """End a training that an error ends, unless it has ended already."""
        if self._world is not None:
            self._end(error)

    def _end(self, error: BaseException | None) -> BaseException | None:
        """Run everything that ends a training; return the first error."""
        told = (self._callbacks.on_exception, self.monitors.on_exception)
        interrupted = [] if error is None else [partial(tell, error) for tell in told]
        ends = [self._callbacks.after_train, self.monitors.close, self._running().close]
        error = run_all([*interrupted, *ends], error)
        self._elapsed_s = self.elapsed_s
        self._world = None
        return error


def _number(name: str, value: Any) -> float:
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"`scalars` must be single numbers, got {name!r} of {type(value).__name__} ({error})"
        raise TypeError(msg) from error


def _values(array: Array) -> Array:
    """Return the numbers of an array of any shape, as floats."""
    return array.ravel() if array.dtype.kind == "f" else array.ravel().astype(np.float64)
