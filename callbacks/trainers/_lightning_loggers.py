"""The loggers of Lightning's `Trainer` as a monitor."""

import contextlib
from collections.abc import Iterator
from typing import Any, final

from milepost.callbacks._record import Array, Record
from milepost.callbacks.monitors import Monitor


@final
class LightningLoggers(Monitor):
    """Writes to every logger of a trainer, on the axis of Lightning's own.

    All take scalars and timings, `TensorBoardLogger` and `WandbLogger` also pictures.

    Lightning names a step by its place from 0, on a count of batches that were followed by an
    update: what it logs of the first is at 0, and so is what was measured after it.

    Attributes:
        trainer: Lightning's; there while a training runs.
    """

    def __init__(self) -> None:
        self.trainer: Any = None
        self._step = 0
        self._muted = False

    def note_step(self) -> None:
        """Take the step that Lightning is in, which it counts further before the epoch ends."""
        self._step = self.trainer.fit_loop.epoch_loop._batches_that_stepped

    def open(self) -> None:
        """Ask whether a logger shows pictures."""
        self.takes_pictures = any(map(_shows, self.trainer.loggers))

    @contextlib.contextmanager
    def muted(self) -> Iterator[None]:
        """Write nothing of what comes in the body."""
        self._muted = True
        try:
            yield
        finally:
            self._muted = False

    def write(self, record: Record) -> None:
        """Give each logger what it takes, and the epoch as Lightning does."""
        if self._muted:
            return
        scalars = {**record.scalars, **record.timings}
        for logger in self.trainer.loggers:
            if scalars:
                epoch = self.trainer.current_epoch
                logger.log_metrics({**scalars, "epoch": epoch}, step=self._step)
            for name, picture in record.pictures.items():
                _show(logger, name, picture, self._step)
            logger.save()

    def __repr__(self) -> str:
        return f"LightningLoggers({[] if self.trainer is None else self.trainer.loggers})"


def _shows(logger: Any) -> bool:
    return hasattr(logger, "log_image") or hasattr(logger.experiment, "add_image")


def _show(logger: Any, name: str, picture: Array, step: int) -> None:
    if hasattr(logger, "log_image"):
        logger.log_image(name, [picture], step)
    elif hasattr(logger.experiment, "add_image"):
        logger.experiment.add_image(name, picture, step, dataformats="HWC")
