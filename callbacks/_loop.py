"""The trainer around a training loop of the user's own."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar, final

from milepost.callbacks._callback import Callback
from milepost.callbacks._callbacks import Callbacks
from milepost.callbacks._clean_up import run_all
from milepost.callbacks._record import Record
from milepost.callbacks._world import World, current_world
from milepost.callbacks.monitors import Monitor, Monitors, default_monitors
from milepost.predictors import Predictor, get_predictor

T = TypeVar("T")
_log = logging.getLogger("milepost")


@final
class Loop:
    """Runs callbacks around a training loop that you write.

    Use it as `with Loop(...) as loop:`. Entering sets the callbacks up; leaving runs their ends,
    also after an error in the body, and closes the monitors. Under `torch.distributed` every rank
    makes one, and the chief logs.

    Args:
        model: the model in training.
        callbacks: run at their moments, in this order.
        rundir: the folder of this training's files; made if it is not there. One that holds a run
            is refused, unless the loop goes on with a state that was loaded.
        monitors: where records go: monitors, and functions that are given each record. None: the
            terminal, and with a `rundir` JSON lines and TensorBoard (where it is installed).
        ema: a module that holds averaged weights, kept by you, for `weights="ema"`.
        clock: seconds that only grow.

    Attributes:
        stop_reason: why the training was asked to end; None if it was not.

    Example:
        >>> with Loop(model=None, monitors=[]) as loop:
        ...     for epoch in loop.epochs(2):
        ...         for batch in loop.steps(["a", "b", "c"]):
        ...             loop.log({"train/loss": 1 / (1 + loop.step)})
        >>> loop.epoch, loop.step, loop.monitors.get_latest("train/loss")
        (2, 6, 0.16666666666666666)
    """

    def __init__(
        self,
        model: Any,
        *,
        callbacks: Iterable[Callback] = (),
        rundir: str | Path | None = None,
        monitors: Iterable[Monitor | Callable[[Record], object]] | None = None,
        ema: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self.ema = ema
        self.rundir = None if rundir is None else Path(rundir)
        self.stop_reason: str | None = None
        self._callbacks = Callbacks(callbacks)
        chosen = default_monitors(self.rundir) if monitors is None else monitors
        self._own_monitors = self.monitors = Monitors(chosen)
        self._clock = clock
        self._began_s = 0.0
        self._elapsed_s = 0.0
        self._step = 0
        self._epoch = 0
        self._epoch_is_cut = False
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
        """Seconds inside the `with` block so far, those before a resume included."""
        running = 0.0 if self._world is None else self._clock() - self._began_s
        return self._elapsed_s + running

    @property
    def world(self) -> World:
        """The processes that train together."""
        return self._entered()

    def __enter__(self) -> "Loop":
        if self._world is not None:
            msg = "this loop is entered already; make one Loop for each training"
            raise RuntimeError(msg)
        self._world = current_world()
        self.stop_reason = None
        self._began_s = self._clock()
        try:
            self._open()
            self._callbacks.trainer = self
            self._callbacks.setup()
            self._callbacks.before_train()
        except BaseException as error:
            self._end(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        first = self._end(error)
        if first is not None and first is not error:
            raise first

    def epochs(self, n: int) -> Iterator[int]:
        """Give the numbers of the epochs still to do, from 0 or from where a resume goes on.

        An epoch is counted when the body is done with it: not if you break out of it, nor if a
        stop was asked for in its `steps`.

        Args:
            n: how many epochs the whole training has.
        """
        self._entered()
        while self._epoch < n and self.stop_reason is None:
            self._epoch_is_cut = False
            self._callbacks.before_epoch()
            yield self._epoch
            if self._epoch_is_cut:
                return
            self._epoch += 1
            self._callbacks.after_epoch()

    def steps(self, batches: Iterable[T]) -> Iterator[T]:
        """Give each batch; a step is counted when the body is done with it.

        If you break out, the step that you are in is not counted. If a stop is asked for, the
        step that runs is the last.
        """
        self._entered()
        if self.stop_reason is None:
            for batch in batches:
                yield batch
                self._step += 1
                self._callbacks.after_step()
                if self.stop_reason is not None:
                    break
            else:
                return
        self._epoch_is_cut = True

    def log(self, scalars: Mapping[str, Any]) -> None:
        """Log scalars of the training, under the number of steps completed.

        Args:
            scalars: numbers, or arrays and tensors of one element (one on a GPU is waited for).
        """
        self._entered()
        self.monitors.write(
            Record(
                step=self._step,
                epoch=self._epoch,
                elapsed_s=self.elapsed_s,
                scalars={name: _number(name, value) for name, value in scalars.items()},
            )
        )

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
        self._entered()
        self.monitors.write(record)
        self._callbacks.on_metrics(record, weights)

    def request_stop(self, reason: str) -> None:
        """End the training after this step; the first reason is kept. Every rank calls it."""
        if self.stop_reason is None:
            self.stop_reason = reason
            if self._entered().is_chief:
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
            RuntimeError: the loop is entered already.
        """
        if self._world is not None:
            msg = "load the state of a loop before its `with` block"
            raise RuntimeError(msg)
        self._step = state["step"]
        self._epoch = state["epoch"]
        self._elapsed_s = state["elapsed_s"]
        self._callbacks.load_state_dict(state["callbacks"])

    def _entered(self) -> World:
        if self._world is None:
            msg = "this loop is not entered; write `with Loop(...) as loop:`"
            raise RuntimeError(msg)
        return self._world

    def _open(self) -> None:
        """Make the folder and the monitors ready on the chief; all ranks raise if they are not."""
        world = self._entered()
        self.monitors = self._own_monitors if world.is_chief else Monitors()
        error: Exception | None = None
        try:
            if self.rundir is not None and world.is_chief:
                _require_writable(self.rundir)
                if not self._step and not self._elapsed_s:
                    _require_new(self.rundir)
            self.monitors.open()
        except Exception as failure:  # raised on every rank
            error = failure
        world.raise_together(error)

    def _end(self, error: BaseException | None) -> BaseException | None:
        """Run everything that ends a training; return the first error."""
        interrupted = [] if error is None else [partial(self._callbacks.on_exception, error)]
        ends = [self._callbacks.after_train, self.monitors.close, self._entered().close]
        error = run_all([*interrupted, *ends], error)
        self._elapsed_s = self.elapsed_s
        self._world = None
        return error


def _require_writable(rundir: Path) -> None:
    try:
        rundir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=rundir):
            pass
    except OSError as error:
        msg = f"`rundir` must be a folder that can be written, got {str(rundir)!r} ({error})"
        raise OSError(msg) from error


def _require_new(rundir: Path) -> None:
    """Raise if a folder holds another run, whose curves and best weights this one would mix up."""
    records = rundir / "metrics.jsonl"
    if records.exists() and records.stat().st_size:
        msg = (
            f"`rundir` {str(rundir)!r} holds a run already; load its state into the loop to go on "
            "with it, or choose another folder"
        )
        raise FileExistsError(msg)


def _number(name: str, value: Any) -> float:
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"`scalars` must be single numbers, got {name!r} of {type(value).__name__} ({error})"
        raise TypeError(msg) from error
