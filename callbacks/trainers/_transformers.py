"""The trainer for the `Trainer` of Hugging Face's transformers."""

import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, final

import torch
from transformers import TrainerCallback

from milepost.callbacks._better import better
from milepost.callbacks._callback import Callback
from milepost.callbacks._record import Record
from milepost.callbacks._training import Training
from milepost.callbacks.monitors import Monitor, Monitors
from milepost.callbacks.trainers._host_scalars import as_scalars
from milepost.callbacks.trainers._transformers_host import TransformersHost
from milepost.callbacks.trainers._transformers_log import TransformersLog

_FILE = "milepost.pt"


@final
class TransformersTrainer(Training, TrainerCallback):  # type: ignore[misc]  # seen as Any
    """Runs callbacks in a `transformers.Trainer`, as one of its callbacks.

    What an evaluation measures is in the log of the `Trainer` (`log_history`, `report_to`) as
    `eval_validation/hit_rate@1`, and in the metrics of its own evaluation at the same step: so
    `metric_for_best_model="validation/hit_rate@1"`, `load_best_model_at_end` and
    `EarlyStoppingCallback` act on it. The runner that measures `metric_for_best_model` also runs
    whenever the `Trainer` evaluates; where there is no data for that, `eval_dataset=[]` does.
    What the `Trainer` logs goes to the monitors, as `train/loss` and `eval/loss`.

    A step is one of the optimizer, `global_step`. An epoch counts when the `Trainer` ends it, also
    one that a stop or `max_steps` cuts short. A second `train` goes on with the counts. The state
    is saved in each checkpoint, and loaded by `train(resume_from_checkpoint=...)`.

    An error of any callback or step, and an interrupt, end the training for the callbacks before
    `train` raises it.

    Args:
        *callbacks: run at their moments, in this order.
        rundir: the folder of this training's files; made if it is not there. One that holds a run
            is refused, unless the training is resumed.
        monitors: where records go: monitors, and functions that are given each record. None: the
            log of the `Trainer`, and with a `rundir` JSON lines and TensorBoard (where it is
            installed).
        ema: a model that holds averaged weights, kept by you, for `weights="ema"`.
        clock: seconds that only grow.

    Attributes:
        stop_reason: why the training was asked to end; None if it was not.
    """

    _outside = "no training runs; pass this to `transformers.Trainer` as one of its callbacks"

    def __init__(
        self,
        *callbacks: Callback,
        rundir: str | Path | None = None,
        monitors: Iterable[Monitor | Callable[[Record], object]] | None = None,
        ema: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = TransformersLog(self)
        self._is_logged = monitors is None
        super().__init__(
            callbacks,
            rundir=rundir,
            monitors=monitors,
            ema=ema,
            clock=clock,
            terminal=False,
            host=self._log,
        )
        self._host: TransformersHost
        self._control: Any = None
        self._is_started = False
        self._is_in_epoch = False
        self._owes_epoch_end = False
        self._steps_before = 0
        self._measured: dict[str, float] = {}

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Set the callbacks up, resumed if the training is."""
        if self._world is not None:
            self._end_by(RuntimeError("another training began"))
        self._host = host = TransformersHost()
        _check_alone(host.trainer.callback_handler.callbacks)
        self._check_best(args)
        host.put_first(self)
        self.model, self._control = model, control
        self._is_started, self._measured = False, {}
        self._owes_epoch_end = host.resumed_from is not None and self._resume(state)
        self._steps_before = self._step - state.global_step
        self._log.trainer = host.trainer
        with self._ended_by_errors():
            self._begin()
        host.watch(self._end_by, self._run_what_is_due_at_the_end)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Run what is due before the epoch, and before the training."""
        self._control = control
        self._start()
        self._is_in_epoch = True
        self._callbacks.before_epoch()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the step, and run what is due."""
        self._control = control
        self._measured = {}
        self._step = self._steps_before + state.global_step
        self._callbacks.after_step()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the epoch, and run what is due."""
        self._control = control
        self._end_epoch()

    def on_evaluate(
        self,
        args: Any,
        state: Any,
        control: Any,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Hand over what was measured at this step; measure what the best model is chosen by."""
        if self._world is None or metrics is None or not self._host.is_handed_metrics(metrics):
            return
        self._control = control
        self._start()
        wanted = (args.metric_for_best_model or "").removeprefix("eval_")
        runner = self._callbacks.trigger_for(wanted)
        if runner and not any(name.startswith(f"{runner}/") for name in self._measured):
            metrics[f"eval_{wanted}"] = math.nan  # its evaluation failed, and is never the best
        metrics.update({f"eval_{name}": value for name, value in self._measured.items()})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Pass on what the `Trainer` logs."""
        if self._world is not None and not self._log.is_busy:
            with self._log.busy():
                own = {name: value for name, value in (logs or {}).items() if name != "epoch"}
                self.log(as_scalars(own, "eval_"))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save the state in the checkpoint."""
        folder = self._host.checkpoint()
        if args.should_save and folder.is_dir():
            states = {"training": self.state_dict(), "is_in_epoch": self._is_in_epoch}
            torch.save(states, folder / _FILE)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Run what is due at the end, and close the monitors."""
        self._start()
        error = self._end(None)
        if error is not None:
            raise error

    def publish(self, record: Record, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Log the record of an evaluation, and show it to every callback and to the `Trainer`'s."""
        if record.step in (None, self._step):
            self._measured.update(record.scalars)
        super().publish(record, weights)

    def request_stop(self, reason: str) -> None:
        """End the training after this step; the first reason is kept."""
        super().request_stop(reason)
        self._control.should_training_stop = True

    def _resume(self, state: Any) -> bool:
        """Load the state; return whether the checkpoint lies before the end of its epoch's hooks.

        The `Trainer` goes on with the next epoch if the last step of one was done.
        """
        file = Path(str(self._host.resumed_from)) / _FILE
        if not file.exists():
            msg = f"{str(file)!r} is not there: the callbacks of milepost start afresh"
            warnings.warn(msg, UserWarning, stacklevel=2)
            self._step = max(self._step, state.global_step)
            self._epoch = max(self._epoch, int(state.epoch))
            return False
        saved = torch.load(file, map_location="cpu", weights_only=True)
        self.load_state_dict(saved["training"])
        return bool(saved["is_in_epoch"]) and float(state.epoch).is_integer()

    def _start(self) -> None:
        """Run what is due before the training, once every callback of the `Trainer` is ready."""
        if self._is_started:
            return
        self._is_started = True
        self._callbacks.before_train()
        if self._owes_epoch_end:
            self._end_epoch()

    def _end_epoch(self) -> None:
        self._is_in_epoch = False
        self._epoch += 1
        self._callbacks.after_epoch()

    def _run_what_is_due_at_the_end(self) -> None:
        """Run it with the last weights, before the best ones are loaded."""
        self._start()
        self._callbacks.at_end()

    def _open(self) -> None:
        super()._open()
        if self._is_logged and not self._running().is_chief:
            self.monitors = Monitors([self._log])  # the history of the `Trainer` is each rank's

    def _end(self, error: BaseException | None) -> BaseException | None:
        self._host.close()
        return super()._end(error)

    def _end_by(self, error: BaseException) -> None:
        """End a training that an error ends, unless it has ended, or the error stays in a log."""
        if not self._log.is_busy:
            super()._end_by(error)

    def _check_best(self, args: Any) -> None:
        """Raise if nobody will look at the metric of the best; warn if the worst would be taken."""
        metric = (args.metric_for_best_model or "").removeprefix("eval_")
        wants_best = args.load_best_model_at_end or args.save_strategy == "best"
        if wants_best and args.eval_strategy == "no" and self._callbacks.measures(metric):
            msg = (
                f"`metric_for_best_model` {metric!r} is read when the Trainer evaluates, and its "
                "`eval_strategy` is 'no'; choose another, with `eval_dataset=[]` if it has no data"
            )
            raise ValueError(msg)
        mode = better(metric)
        if wants_best and mode and args.greater_is_better is not (mode == "max"):
            msg = (
                f"the best {metric!r} is the {mode}imum, but `greater_is_better` is "
                f"{args.greater_is_better}; say `greater_is_better={mode == 'max'}`"
            )
            warnings.warn(msg, UserWarning, stacklevel=2)


def _check_alone(callbacks: Iterable[Any]) -> None:
    if sum(isinstance(callback, TransformersTrainer) for callback in callbacks) > 1:
        msg = "a Trainer may have one `mp.trainers.transformers`; give it all callbacks"
        raise ValueError(msg)
