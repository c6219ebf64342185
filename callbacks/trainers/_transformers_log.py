"""The log of a `transformers.Trainer` as a monitor."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

from milepost.callbacks._record import Record
from milepost.callbacks.monitors import Monitor


@final
class TransformersLog(Monitor):
    """Writes scalars to the history, the callbacks and the backends of a `Trainer`.

    What an evaluation measured has the prefix `eval_`, as what the `Trainer` itself evaluates; its
    backends show it under `eval/`. A record of a step that has passed is left out: the `Trainer`
    would file it under this one.

    Attributes:
        trainer: the `Trainer`; there while a training runs.
        step: the one that records are of now.
        is_busy: whether something is being logged, by this monitor or by the `Trainer` itself.
    """

    def __init__(self) -> None:
        self.trainer: Any = None
        self.step = 0
        self.is_busy = False

    def write(self, record: Record) -> None:
        """Log the scalars as the `Trainer` does."""
        if self.is_busy or not record.scalars or record.step != self.step:
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
