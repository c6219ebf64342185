"""The log of a `transformers.Trainer` as a monitor."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

from milepost.callbacks._record import Record
from milepost.callbacks._training import Training
from milepost.callbacks.monitors import Monitor


@final
class TransformersLog(Monitor):
    """Writes scalars to the history, the callbacks and the backends of a `Trainer`.

    What an evaluation measured has the prefix `eval_`, as what the `Trainer` itself evaluates; its
    backends show it under `eval/`. A record of a step that has passed is left out: the `Trainer`
    would file it under this one.

    Args:
        training: whose step it is.

    Attributes:
        trainer: the `Trainer`; there while a training runs.
        is_busy: whether something is being logged, by this monitor or by the `Trainer` itself.
    """

    def __init__(self, training: Training) -> None:
        self._training = training
        self.trainer: Any = None
        self.is_busy = False

    def write(self, record: Record) -> None:
        """Log the scalars as the `Trainer` does."""
        is_of_now = record.step in (None, self._training.step)
        if self.is_busy or not record.scalars or not is_of_now:
            return
        prefix = "" if record.runner is None else "eval_"
        control = self.trainer.control
        should_log = control.should_log
        with self.busy():
            self.trainer.log({f"{prefix}{name}": value for name, value in record.scalars.items()})
        control.should_log = should_log  # what it was about to log itself is still to come

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Take nothing while the body runs."""
        self.is_busy = True
        try:
            yield
        finally:
            self.is_busy = False

    def __repr__(self) -> str:
        return "TransformersLog()"
