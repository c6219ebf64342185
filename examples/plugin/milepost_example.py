"""An inferencer, a monitor and a trainer that Milepost finds by the names in pyproject.toml."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from milepost.callbacks import Callback, Record, Training
from milepost.callbacks.monitors import Monitor
from milepost.inferencers import Inferencer, Rows, State


@final
class CalibrationError(Inferencer):
    """The expected calibration error: |accuracy - confidence|, over bins of confidence.

    Args:
        probabilities: an output of shape (N, C).
        labels: a field of shape (N,).
        bins: bins of equal width.
        name: prefixes the metric where two inferencers would log the same name.
    """

    def __init__(
        self,
        probabilities: str = "output",
        labels: str = "label",
        *,
        bins: int = 10,
        name: str = "calibration_error",
    ) -> None:
        self.name = name
        self.fetches = (probabilities, labels)
        self._bins = bins
        self.reset()

    def reset(self) -> None:
        self._right_minus_sure = np.zeros(self._bins)
        self._samples = 0

    def update(self, rows: Rows) -> None:
        probabilities, labels = (rows[name] for name in self.fetches)
        sure = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == labels
        bins = np.minimum(sure * self._bins, self._bins - 1).astype(int)
        self._right_minus_sure += np.bincount(bins, right - sure, self._bins)
        self._samples += len(labels)

    def state(self) -> State:
        return {"right_minus_sure": self._right_minus_sure.copy(), "samples": self._samples}

    def merge(self, states: Sequence[State]) -> None:
        for state in states:
            self._right_minus_sure += state["right_minus_sure"]
            self._samples += state["samples"]

    def compute(self) -> Mapping[str, float] | None:
        if not self._samples:
            return None
        return {"calibration_error": float(abs(self._right_minus_sure).sum() / self._samples)}


@final
class Logging(Monitor):
    """Gives each evaluation to Python's `logging`.

    Args:
        logger: its name.
    """

    def __init__(self, logger: str = "milepost") -> None:
        self._logger = logging.getLogger(logger)

    def write(self, record: Record) -> None:
        if record.runner is not None:
            self._logger.info("%s at step %s: %s", record.runner, record.step, dict(record.scalars))


@final
class MetricLearning(Training):
    """Runs callbacks in a trainer of pytorch-metric-learning's, which calls hooks of ours.

    Args:
        trainer: one of `pytorch_metric_learning.trainers`; its trunk is examined.
        *callbacks: run at their moments, in this order.
        options: `rundir` and `monitors`, as for `milepost.Loop`.
    """

    _outside = "no training runs; call `train`"

    def __init__(self, trainer: Any, *callbacks: Callback, **options: Any) -> None:
        settings = {"rundir": None, "monitors": None, "ema": None, "clock": time.monotonic}
        super().__init__(callbacks, **{**settings, **options})
        self.model = trainer.models["trunk"]
        self._trainer = trainer
        trainer.end_of_iteration_hook = self._after_iteration
        trainer.end_of_epoch_hook = self._after_epoch

    def train(self, epochs: int) -> None:
        """Train up to so many epochs, those before a resume included."""
        with self._ended_by_errors():
            self._begin()
            self._callbacks.before_train()
            self._callbacks.before_epoch()
            self._trainer.train(self.epoch + 1, epochs)
        error = self._end(None)
        if error is not None:
            raise error

    def _after_iteration(self, trainer: Any) -> None:
        self.log({"train/loss": trainer.losses["total_loss"]})
        self._step += 1
        self._callbacks.after_step()

    def _after_epoch(self, trainer: Any) -> bool:
        self._epoch += 1
        self._callbacks.after_epoch()
        if self.stop_reason is not None:
            return False  # ends the training
        self._callbacks.before_epoch()
        return True
