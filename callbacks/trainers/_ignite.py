"""The trainer for PyTorch-Ignite's engines."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, final

from ignite.engine import Engine, EventEnum, Events

from milepost.callbacks._callback import Callback
from milepost.callbacks._record import Record
from milepost.callbacks._training import Training
from milepost.callbacks.monitors import Monitor
from milepost.callbacks.trainers._ignite_process import find_accumulation, find_model


class EvaluationEvents(EventEnum):
    """What an engine fires for Milepost."""

    EVALUATED = "milepost_evaluated"


@final
class IgniteTrainer(Training):
    """Runs callbacks in the runs of an Ignite engine.

    What an evaluation measures is in `engine.state.metrics` under its full name before the other
    handlers of the same event run, whichever was attached first: Ignite's `Checkpoint`,
    `EarlyStopping` and loggers act on `"validation/hit_rate@1"` as on metrics of their own.
    `EVALUATED` is an event of the engine: it fires at each result, whatever the schedule.

    A step is an update of the weights: a batch, or as many as `create_supervised_trainer` was told
    to accumulate. An epoch counts when Ignite completes it. An engine that resumes without our
    state gives its counts; in a run that begins again they go on. A stop that a callback asks for
    terminates the engine.

    An error that ends a run ends the training for the callbacks; one that a handler of
    `EXCEPTION_RAISED` keeps to itself does so if the run ends by it.

    Args:
        engine: what trains; callbacks run in each of its runs.
        *callbacks: run at their moments, in this order.
        model: the model in training. None: the one with parameters that the engine's process
            function works with, as that of `create_supervised_trainer` does.
        rundir: the folder of this training's files; made if it is not there. One that holds a run
            is refused, unless a state was loaded.
        monitors: where records go: monitors, and functions that are given each record. None: the
            terminal, and with a `rundir` JSON lines and TensorBoard (where it is installed).
        ema: a model that holds averaged weights, kept by you, for `weights="ema"`.
        is_step: says, when a batch is done, whether it updated the weights, for a process function
            of your own that accumulates gradients. None: what `create_supervised_trainer` was told,
            else every batch is a step.
        clock: seconds that only grow.

    Attributes:
        EVALUATED: the event that the engine fires when an evaluation has a result.
        stop_reason: why the training was asked to end; None if it was not.

    Raises:
        TypeError: `engine` is none.
        ValueError: `model` is not given, and the process function holds none, or several.

    Example:
        >>> import torch
        >>> from ignite.engine import create_supervised_trainer
        >>> net = torch.nn.Linear(1, 1)
        >>> engine = create_supervised_trainer(
        ...     net, torch.optim.SGD(net.parameters(), 0.1), torch.nn.functional.mse_loss
        ... )
        >>> trainer = IgniteTrainer(engine, monitors=[])
        >>> state = engine.run([(torch.ones(2, 1), torch.ones(2, 1))] * 4, max_epochs=3)
        >>> trainer.epoch, trainer.step, trainer.model is net
        (3, 12, True)
    """

    EVALUATED = EvaluationEvents.EVALUATED
    _outside = "no training runs; it begins with the first epoch of a run of the engine"

    def __init__(
        self,
        engine: Engine,
        *callbacks: Callback,
        model: Any = None,
        rundir: str | Path | None = None,
        monitors: Iterable[Monitor | Callable[[Record], object]] | None = None,
        ema: Any = None,
        is_step: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(engine, Engine):
            msg = f"`engine` must be an Engine of Ignite, got {engine!r}"
            raise TypeError(msg)
        super().__init__(callbacks, rundir=rundir, monitors=monitors, ema=ema, clock=clock)
        function = engine._process_function
        self.model = find_model(function) if model is None else model
        self._batches_a_step = find_accumulation(function)
        self._is_step = is_step
        self._engine = engine
        self._attach()

    def publish(self, record: Record, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Log the record of an evaluation, and show it to every callback and to Ignite."""
        engine = self._engine
        engine.state.metrics.update(record.scalars)
        super().publish(record, weights)
        running = engine.last_event_name  # by which other handlers name what they save
        engine.fire_event(self.EVALUATED)
        engine.last_event_name = running

    def request_stop(self, reason: str) -> None:
        """End the training after this step; the first reason is kept. Every rank calls it."""
        super().request_stop(reason)
        self._engine.terminate()

    def _attach(self) -> None:
        """Run at the events of the engine, ahead of what acts on the metrics."""
        engine = self._engine
        engine.register_events(self.EVALUATED, event_to_attr={self.EVALUATED: "iteration"})
        for event, handler in (
            (Events.EPOCH_STARTED, self._before_epoch),
            (Events.ITERATION_COMPLETED, self._after_batch),
            (Events.EPOCH_COMPLETED, self._after_epoch),
            (Events.TERMINATE, self._after_termination),
            (Events.COMPLETED, self._after_run),
        ):
            engine.add_event_handler(event, handler)
            handlers = engine._event_handlers[event]
            handlers.insert(0, handlers.pop())
        handle = engine._handle_exception

        def handle_exception(error: BaseException) -> None:
            try:
                handle(error)
            except BaseException as raised:
                self._end_by(raised)
                raise
            if engine._dataloader_iter is None:  # the run is over; otherwise it goes on
                self._end_by(error)

        # a handler of EXCEPTION_RAISED would keep the error from being raised
        vars(engine)["_handle_exception"] = handle_exception

    def _before_epoch(self, engine: Engine) -> None:
        """Run what is due before the epoch, and before the training."""
        if self._world is None:
            with self._ended_by_errors():
                self._count_from(engine.state)
                self._begin()
                self._callbacks.before_train()
        self._callbacks.before_epoch()

    def _count_from(self, state: Any) -> None:
        """Take the engine's counts where they are ahead: it may resume without our state."""
        if self._is_step is None:
            self._step = max(self._step, state.iteration // self._batches_a_step)
        length = state.epoch_length
        self._epoch = max(self._epoch, state.iteration // length if length else state.epoch - 1)

    def _after_batch(self, engine: Engine) -> None:
        """Count the step if the batch completes one, and run what is due."""
        if self._is_step is None:
            is_step = engine.state.iteration % self._batches_a_step == 0
        else:
            is_step = self._is_step()
        if is_step:
            self._step += 1
            self._callbacks.after_step()

    def _after_epoch(self, engine: Engine) -> None:
        """Count the epoch, and run what is due."""
        self._epoch += 1
        self._callbacks.after_epoch()

    def _after_termination(self, engine: Engine) -> None:
        """End the training if Ignite will not complete the run."""
        if engine.should_terminate == "skip_completed":
            self._after_run(engine)

    def _after_run(self, engine: Engine) -> None:
        """Run what is due at the end, and close the monitors."""
        if self._world is not None and (error := self._end(None)) is not None:
            raise error
