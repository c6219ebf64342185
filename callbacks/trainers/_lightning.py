"""The trainer for Lightning's `Trainer.fit`, under both of its import names."""

import dataclasses
import importlib
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, final

import torch

from milepost.callbacks._callback import Callback
from milepost.callbacks._record import Record
from milepost.callbacks._training import Training
from milepost.callbacks.monitors import Monitor
from milepost.callbacks.trainers._lightning_loggers import LightningLoggers
from milepost.callbacks.trainers._lightning_watchers import Watchers


def _base() -> Any:
    """A class that is a `Callback` of each Lightning that is loaded; both may be installed."""
    names = ("lightning.pytorch", "pytorch_lightning")
    loaded = [name for name in names if name in sys.modules]
    there = [name for name in names if importlib.util.find_spec(name.partition(".")[0])]
    chosen = loaded or there[:1] or names[:1]
    return type("Base", tuple(importlib.import_module(name).Callback for name in chosen), {})


_Base: Any = _base()
_FIELDS = {field.name for field in dataclasses.fields(Record)}


@final
class LightningTrainer(Training, _Base):  # type: ignore[misc]  # whichever Lightning there is
    """Runs callbacks in `Trainer.fit`, as one of its callbacks.

    Args:
        *callbacks: run at their moments, in this order.
        rundir: the folder of this training's files; made if it is not there. One that holds a run
            is refused, unless a checkpoint is gone on with.
        monitors: where records go: monitors, and functions that are given each record. None: the
            loggers of the `Trainer`, and with a `rundir` JSON lines and TensorBoard (where it is
            installed).
        ema: a model that holds averaged weights, kept by you, for `weights="ema"`.
        clock: seconds that only grow.

    Attributes:
        stop_reason: why the training was asked to end; None if it was not.
    """

    state_key = "milepost"
    # Lightning passes over hooks that are no functions, and a step is quicker for it
    on_train_batch_start = on_before_zero_grad = on_before_optimizer_step = None
    on_before_backward = on_after_backward = None
    _outside = "no training runs; give this to `Trainer(callbacks=...)`"

    def __init__(
        self,
        *callbacks: Callback,
        rundir: str | Path | None = None,
        monitors: Iterable[Monitor | Callable[[Record], object]] | None = None,
        ema: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loggers = LightningLoggers()
        self._told: dict[str, Any] = {}
        Training.__init__(
            self,
            callbacks,
            rundir=rundir,
            monitors=monitors,
            ema=ema,
            clock=clock,
            terminal=False,
            host=self._loggers,
        )
        self._trainer: Any = None
        self._watchers = Watchers(callbacks)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Set the callbacks up, and run what is due before the training."""
        for name in ("log", "log_dict"):  # Lightning put the module's own on each callback
            self.__dict__.pop(name, None)
        self.model, self._trainer, self._loggers.trainer = pl_module, trainer, trainer
        if trainer.global_step < self._step:  # another training than the last
            self._epoch, self._elapsed_s = 0, 0.0
        self._step = trainer.global_step
        self._epoch = max(self._epoch, trainer.current_epoch)
        self._loggers.note_step()
        self._begin()
        self._watchers.open(trainer)
        self._callbacks.before_train()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Run what is due before the epoch."""
        self._tell_of_theirs()
        self._callbacks.before_epoch()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count what the batch completed, and run what is due.

        An epoch counts before Lightning validates, so that whoever looks then sees its metrics.
        """
        self._loggers.note_step()
        step = trainer.global_step
        if step != self._step:
            self._step = step
            self._callbacks.after_step()
        if trainer.is_last_batch:
            self._count_epoch()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Count an epoch that ended before its last batch."""
        self._count_epoch()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Run what is due at the end, and close the monitors."""
        self._tell_of_theirs()
        if not trainer.fast_dev_run:  # which saves nothing
            self._watchers.warn_of_idle()
        error = self._end(None)
        if error is not None:
            raise error

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End a training that an error ends."""
        self._end_by(exception)

    def publish(self, record: Record, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Log the record of an evaluation, and show it to every callback and to Lightning's."""
        scalars = {x: torch.tensor(y, dtype=torch.float64) for x, y in record.scalars.items()}
        self._trainer.callback_metrics.update(scalars)
        self._watchers.note(record, self._step)
        super().publish(record, weights)

    def request_stop(self, reason: str) -> None:
        """End the training after this step; the first reason is kept. Every rank calls it."""
        super().request_stop(reason)
        self._trainer.should_stop = True

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        """Note who loads it."""
        self._trainer = trainer

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, if that is what Lightning does.

        It also loads a checkpoint to validate or test it, or within a training, when a tuner puts
        back what it saved; neither moved anything here.
        """
        is_used = self._trainer is not None and self._trainer.state.fn != "fit"
        if self._world is None and not is_used:
            super().load_state_dict(state)

    def _count_epoch(self) -> None:
        if self._epoch == self._trainer.current_epoch:
            self._epoch += 1
            self._callbacks.after_epoch()

    def _tell_of_theirs(self) -> None:
        """Log what the module logged, when all hooks of an epoch have run."""
        logged = dict(self._trainer.logged_metrics)
        scalars = {
            name: float(value)
            for name, value in logged.items()
            if value is not self._told.get(name) and name not in _FIELDS
        }
        self._told = logged
        if both := sorted(scalars.keys() & self._watchers.measured.keys()):
            msg = f"the module logs {both} too, which are measured here; give the runner a `name`"
            warnings.warn(msg, UserWarning, stacklevel=2)
        if scalars:
            with self._loggers.muted():  # they were given these by Lightning
                self.log(scalars)

    def _end(self, error: BaseException | None) -> BaseException | None:
        self._watchers.close()
        return super()._end(error)
