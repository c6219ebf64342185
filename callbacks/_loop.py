"""The trainer around a training loop of the user's own."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, final

from milepost.callbacks._callback import Callback
from milepost.callbacks._record import Record
from milepost.callbacks._training import Training
from milepost.callbacks.monitors import Monitor

T = TypeVar("T")


@final
class Loop(Training):
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
        ema: a model that holds averaged weights, kept by you, for `weights="ema"`.
        is_step: says, when the body is done with a batch, whether it updated the weights: under
            gradient accumulation most batches are no step. None: every batch is one.
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

    _outside = "this loop is not entered; write `with Loop(...) as loop:`"

    def __init__(
        self,
        model: Any,
        *,
        callbacks: Iterable[Callback] = (),
        rundir: str | Path | None = None,
        monitors: Iterable[Monitor | Callable[[Record], object]] | None = None,
        ema: Any = None,
        is_step: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(callbacks, rundir=rundir, monitors=monitors, ema=ema, clock=clock)
        self.model = model
        self._is_step = is_step
        self._epoch_is_cut = False

    def __enter__(self) -> "Loop":
        if self._world is not None:
            msg = "this loop is entered already; make one Loop for each training"
            raise RuntimeError(msg)
        with self._ended_by_errors():
            self._begin()
            self._callbacks.before_train()
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
        self._running()
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
        self._running()
        if self.stop_reason is None:
            for batch in batches:
                yield batch
                if self._is_step is None or self._is_step():
                    self._step += 1
                    self._callbacks.after_step()
                if self.stop_reason is not None:
                    break
            else:
                return
        self._epoch_is_cut = True
