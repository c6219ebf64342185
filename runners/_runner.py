"""The callback that owns the data and the way to run a model over it."""

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, final

from milepost.callbacks import (
    Callback,
    Moment,
    Record,
    Scheduled,
    Solo,
    Timer,
    Trainer,
    World,
    current_world,
)
from milepost.errors import LostRankError, UnknownNameError
from milepost.inferencers import Bootstrap, Inferencer
from milepost.predictors import get_predictor
from milepost.runners._arguments import (
    check_choice,
    check_confidence,
    check_inferencers,
    check_least,
    check_loading,
    check_name,
    check_names,
    check_placement,
    check_roles,
    warn_of_own_copies,
)
from milepost.runners._cache import Cache
from milepost.runners._examination import Examination, Result
from milepost.runners._feed import Feed
from milepost.runners._forward import Forward as ModelForward
from milepost.runners._source import Loading
from milepost.runners._standalone import Standalone
from milepost.runners._together import describe

Forward = Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]


@final
class InferenceRunner(Callback):
    """Examines the model over held-out data, exactly once, without a trace in the training.

    One forward pass a batch serves all inferencers. Given equal outputs of the model, the metrics
    do not depend on batch size, prefetch, workers, devices, ranks or order.

    Args:
        data: one source, whose role is `query` unless a field `role` says that of each row, or a
            mapping role -> source, such as `{"query": val_set, "gallery": train_set}`. A source is
            a torch `Dataset`, `IterableDataset` or `DataLoader`, a `tf.data.Dataset`, a Keras
            `PyDataset`, a mapping of arrays, or any iterable of batches.
        inferencers: what to compute.
        every: when to run: a schedule, or a string such as `"500 steps"`, `"1 epoch"`, `"5%"`.
        name: prefixes the metrics: `validation/hit_rate@1`.
        fields: names for the elements of tuple batches; by default `("input", "label")`.
        inputs: the fields that go to the model; by default the first of a tuple, and what the
            model's signature takes of a mapping.
        forward: `forward(model, batch) -> mapping of outputs`, in place of calling the model.
        shared_ids: whether rows of two roles with equal ids are the same item; a query then
            leaves out its own copy in the gallery.
        size: how many samples the data declares (by role, if there are several); not needed where
            the source has a length. Another count is an error; an endless pipeline of TensorFlow
            or Keras is read so far.
        batch_size: rows a batch; by default a loader's own, or 64.
        num_workers: worker processes that load a torch source; 0 takes a loader's own.
        prefetch: batches loaded ahead on a thread, unless they lie in memory or, as those of a
            `tf.data.Dataset`, are loaded ahead anyway; 0 loads on the caller's thread.
        placement: None for the model's own device, and all ranks where there are several;
            `"local"` for this process alone; a sequence of devices for a replica on each.
        weights: `"live"`, `"ema"` (the trainer's averaged model) or `"snapshot"`.
        on_error: what a failed evaluation does to the training: `"raise"` ends it, `"warn"` goes
            on, `"disable"` goes on and never runs again. A rank that is lost ends it anyway.
        timeout_s: how long to wait for a batch; None waits for ever.
        max_memory_bytes: what the comparison of all pairs may use; by default a quarter of what
            is free.
        autocast: a dtype for mixed precision, such as `"bfloat16"`; None runs in full.
        channels_last: whether image batches go to the model in that memory format.
        trace_check: whether to hash parameters and buffers before and after, and raise if
            anything changed.
        confidence: the level of confidence intervals, such as 0.95, or a `Bootstrap` with more
            options: `<metric>/low` and `<metric>/high` are logged beside each metric that has one.
        cache: a folder, or a `Cache` with more options, that keeps what the model gives, for runs
            with the same weights and data.

    Raises:
        ValueError: an argument is out of range.
        TypeError: nothing is known that reads such data.

    Example:
        >>> import numpy as np
        >>> from milepost.inferencers import ScalarStats
        >>> runner = InferenceRunner({"loss": np.array([1.0, 2.0, 6.0])}, [ScalarStats("loss")])
        >>> runner.maybe_run(None, epoch=1)
        {'validation/loss': 3.0}
    """

    _started: float | None
    _world: World | None

    def __init__(
        self,
        data: Any,
        inferencers: Sequence[Inferencer],
        *,
        every: Scheduled = "1 epoch",
        name: str = "validation",
        fields: Sequence[str] | None = None,
        inputs: Sequence[str] | None = None,
        forward: Forward | None = None,
        shared_ids: bool = False,
        size: int | Mapping[str, int] | None = None,
        batch_size: int | None = None,
        num_workers: int = 0,
        prefetch: int = 2,
        placement: Literal["local"] | Sequence[Any] | None = None,
        weights: Literal["live", "ema", "snapshot"] = "live",
        on_error: Literal["raise", "warn", "disable"] = "raise",
        timeout_s: float | None = None,
        max_memory_bytes: int | None = None,
        autocast: Any = None,
        channels_last: bool = False,
        trace_check: bool = False,
        confidence: float | Bootstrap | None = None,
        cache: str | os.PathLike[str] | Cache | None = None,
    ) -> None:
        check_choice("on_error", on_error, ("raise", "warn", "disable"))
        check_choice("weights", weights, ("live", "ema", "snapshot"))
        check_loading(batch_size, num_workers, prefetch, timeout_s)
        check_least("max_memory_bytes", max_memory_bytes, 1)
        check_name(name)
        check_names(fields=fields, inputs=inputs)
        self.every, self.name, self._on_error = every, name, on_error
        self._timer, self._world = Timer(every), None
        self._started, self._elapsed_s, self._disabled = None, 0.0, False
        self._runs = 0  # of this training
        self._placement = check_placement(placement)
        self._inferencers = check_inferencers(inferencers)
        loading = Loading(batch_size, num_workers, timeout_s)
        self._feed = Feed(data, fields=fields, size=size, loading=loading)
        self._feed.declared()
        check_roles(self._feed.roles, self._inferencers)
        warn_of_own_copies(data, shared_ids=shared_ids)
        self._predictor = partial(
            get_predictor,
            inputs=inputs,
            forward=forward,
            weights=weights,
            autocast=autocast,
            channels_last=channels_last,
        )
        self._examination = partial(
            Examination,
            self._feed,
            self._inferencers,
            devices=() if self._placement in (None, "local") else self._placement,
            prefetch=prefetch,
            timeout_s=timeout_s,
            max_memory_bytes=max_memory_bytes,
            shared_ids=shared_ids,
            trace_check=trace_check,
            confidence=check_confidence(confidence),
            cache=Cache.of(cache, self._feed.roles),
        )

    def setup(self) -> None:
        """Take the runs that follow for those of a new training."""
        self._runs = 0

    def trigger(self) -> None:
        """Examine the model now; called by a training when `every` is due."""
        self.run(self.trainer)

    def maybe_run(
        self, model: Any, *, step: int | None = None, epoch: int | None = None, ema: Any = None
    ) -> dict[str, float] | None:
        """Return the metrics if `every` is due, else None: one line in a loop of your own.

        Args:
            model: the model in training.
            step: steps completed; needed by schedules that count steps.
            epoch: epochs completed; needed by schedules that count epochs.
            ema: the averaged model, for `weights="ema"`.

        Raises:
            ValueError: the schedule needs a clock that is not given.
        """
        now = time.monotonic()
        started = self._started = now - self._elapsed_s if self._started is None else self._started
        self._elapsed_s = now - started
        moment = Moment(step=step, epoch=epoch, elapsed_s=self._elapsed_s)
        if self._world is None:
            self._world = Solo() if self._placement == "local" else current_world()
        if not self._timer.due(moment, self._world):
            return None
        trainer = Standalone(model, self._world, step or 0, epoch or 0, self._elapsed_s, ema)
        metrics = self.run(trainer)
        self._timer.spend(time.monotonic() - now)
        return metrics

    def rehearse(self, model: Any) -> None:
        """Run a few rows of each role, so that an error shows before hours of training.

        Nothing is measured or logged, and no trace is left. A source that can be read but once is
        left alone.

        Raises:
            UnknownNameError: an inferencer fetches what is neither a field nor an output.
            Exception: whatever else goes wrong, if it would end the training.
        """
        try:
            predictor = self._predictor(model, weights="live")
            with predictor.scope():
                forward = ModelForward(predictor, self._inferencers)
                for batch in self._feed.first_rows():
                    forward(batch)
        except Exception as error:
            if self._on_error == "raise" or isinstance(error, UnknownNameError):
                raise

    def run(self, trainer: Trainer) -> dict[str, float] | None:
        """Examine the trainer's model now, log the result, and return the metrics.

        Returns:
            The metrics by full name; None if there are none: the data is empty, or the evaluation
            failed and `on_error` lets the training go on.
        """
        if self._disabled:
            return None
        record = partial(
            Record,
            runner=self.name,
            step=trainer.step,
            epoch=trainer.epoch,
            elapsed_s=trainer.elapsed_s,
        )
        try:
            result = self._examine(trainer)
        except Exception as error:
            trainer.monitors.write(record(scalars={}, error=describe(error)))
            self._survive(error, trainer)
            return None
        if result.metrics is None:
            msg = f"{self.name}: the source of role {result.empty!r} is empty; nothing is logged"
            warnings.warn(msg, RuntimeWarning, stacklevel=2)
            return None
        self._runs += 1
        metrics, timings = (
            {f"{self.name}/{key}": value for key, value in part.items()}
            for part in (result.metrics, result.timings)
        )
        columns = {
            table: {column: f"{self.name}/{metric}" for column, metric in each.items()}
            for table, each in result.columns.items()
        }
        evidence = partial(record, tables=result.tables, columns=columns, coverage=result.coverage)
        trainer.publish(evidence(scalars=metrics, timings=timings), result.weights)
        return metrics

    def _examine(self, trainer: Trainer) -> Result:
        world = Solo() if self._placement == "local" else trainer.world
        make_predictor = partial(self._predictor, trainer.model, ema=trainer.ema)
        return self._examination(
            make_predictor,
            world,
            step=trainer.step,
            title=self.name,
            takes_tables=trainer.takes_tables,
            earlier_runs=self._runs,
        ).run()

    def _survive(self, error: Exception, trainer: Trainer) -> None:
        """Let the training go on after a failed evaluation, or raise, as `on_error` says."""
        if self._on_error == "raise" or isinstance(error, LostRankError):
            raise error
        self._disabled = self._on_error == "disable"
        outlook = "it will not run again" if self._disabled else "the training goes on"
        msg = f"{self.name} failed at step {trainer.step}, {outlook}: {describe(error)}"
        warnings.warn(msg, RuntimeWarning, stacklevel=3)

    def state_dict(self) -> dict[str, Any]:
        """Return the phase and the clock of `maybe_run`, and whether the runner is disabled."""
        return {
            "timer": self._timer.state_dict(),
            "elapsed_s": self._elapsed_s,
            "disabled": self._disabled,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._timer.load_state_dict(state["timer"])
        self._elapsed_s, self._started = state["elapsed_s"], None
        self._disabled = state["disabled"]
