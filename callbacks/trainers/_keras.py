"""The trainer for `model.fit`."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, final

import keras

from milepost.callbacks._callback import Callback
from milepost.callbacks._record import Record
from milepost.callbacks._training import Training
from milepost.callbacks.monitors import Monitor
from milepost.callbacks.trainers._host_scalars import as_scalars
from milepost.callbacks.trainers._keras_fit import FitWatch, callers_hooks


@final
class KerasTrainer(Training, keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Runs callbacks in `model.fit`, as one of its callbacks.

    What Keras measures in an epoch goes to the monitors as `train/loss`, what its own validation
    does as `val/loss`. What an evaluation measures is in the `logs` of its epoch, and of its batch
    if there is one, for the callbacks that follow in the list: `History`, `EarlyStopping` and
    `ModelCheckpoint` act on `"validation/hit_rate@1"` as on their own (they need `mode="max"`).

    A step is a batch; with
    `steps_per_execution` steps pass several at a time, and what becomes due on the way runs once.
    An epoch counts when Keras ends it, also one that a stop cuts short. A second `fit` goes on
    with the counts; the validation of `fit` is none of the training.

    An error of any callback or step, and an interrupt, end the training for the callbacks before
    `fit` raises it.

    Args:
        *callbacks: run at their moments, in this order.
        rundir: the folder of this training's files; made if it is not there. One that holds a run
            is refused, unless a state was loaded.
        monitors: where records go: monitors, and functions that are given each record. None: with
            a `rundir` JSON lines and TensorBoard (where it is installed); Keras itself prints.
        ema: a model that holds averaged weights, kept by you, for `weights="ema"`.
        clock: seconds that only grow.

    Attributes:
        stop_reason: why the training was asked to end; None if it was not.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> trainer = KerasTrainer()
        >>> history = model.fit(
        ...     np.ones((8, 1)), np.ones((8, 1)), 4, epochs=3, verbose=0, callbacks=[trainer]
        ... )
        >>> trainer.epoch, trainer.step
        (3, 6)
    """

    _outside = "no training runs; pass this to `model.fit` as one of its callbacks"

    def __init__(
        self,
        *callbacks: Callback,
        rundir: str | Path | None = None,
        monitors: Iterable[Monitor | Callable[[Record], object]] | None = None,
        ema: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        keras.callbacks.Callback.__init__(self)
        Training.__init__(
            self,
            callbacks,
            rundir=rundir,
            monitors=monitors,
            ema=ema,
            clock=clock,
            terminal=False,
        )
        self._watch: FitWatch | None = None
        self._is_started = False
        self._of_epoch: dict[str, float] = {}
        self._of_batch: dict[str, float] = {}
        self._epoch_step = 0
        self._begun = 0
        self._updates = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Set the callbacks up."""
        if self._world is not None:
            self._end_by(RuntimeError("another training began"))
        self._is_started = False
        with self._ended_by_errors():
            self._begin()
        hooks = callers_hooks()
        if hooks is not None:
            self._watch = FitWatch(hooks, self.model, self._end_by)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Run what is due before the epoch, and before the training."""
        self._start(epoch)
        self._epoch_step = self._step
        self._callbacks.before_epoch()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Note where an execution begins, if there is any data left for it."""
        self._begun = batch
        self._updates = self._count_updates()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the steps, and run what is due."""
        self._of_batch = {}
        self._step = self._epoch_step + self._count_batches(batch)
        self._callbacks.after_step()
        if logs is not None:
            logs.update(self._of_batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the epoch, log what Keras measured, run what is due, and hand that over."""
        self._epoch += 1
        own = {name: value for name, value in (logs or {}).items() if "/" not in name}
        self.log(as_scalars(own, "val_"))
        self._callbacks.after_epoch()
        if logs is not None:
            logs.update(self._of_epoch)
        self._of_epoch = {}

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Run what is due at the end, and close the monitors."""
        self._start(self._epoch)
        error = self._end(None)
        if error is not None:
            raise error
        if logs is not None:
            logs.update(self._of_epoch)

    def publish(self, record: Record, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Log the record of an evaluation, and show it to every callback and to Keras."""
        self._of_batch.update(record.scalars)
        self._of_epoch.update(record.scalars)
        super().publish(record, weights)

    def request_stop(self, reason: str) -> None:
        """End the training after this step; the first reason is kept."""
        super().request_stop(reason)
        self.model.stop_training = True

    def _start(self, epoch: int) -> None:
        """Run what is due before the training, once it is known where it goes on."""
        if not self._is_started:
            self._is_started = True
            self._epoch = max(self._epoch, epoch)
            self._callbacks.before_train()

    def _end(self, error: BaseException | None) -> BaseException | None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        return super()._end(error)

    def _count_batches(self, batch: int) -> int:
        """Return how many batches of the epoch are done.

        Keras names the last batch that an execution may have. If it may be beyond the data, the
        optimizer knows if there were fewer, as long as it counts each batch.
        """
        if batch < ((self.params or {}).get("steps") or 0):
            return batch + 1
        updates = self._count_updates() - self._updates
        return min(self._begun + updates, batch + 1) if updates else batch + 1

    def _count_updates(self) -> int:
        """Return how many batches the optimizer was given, those included that it accumulates."""
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        if self.model.steps_per_execution == 1 or optimizer is None:
            return 0
        counts = (x for x in optimizer.variables if x.name == "iteration")
        return next((int(x.numpy()) for x in counts), 0)
