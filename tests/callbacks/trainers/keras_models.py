"""A small model to fit, and callbacks that note what happens to them."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from milepost.callbacks import Callback, Record, Scheduled
from tests.callbacks.trainers.watch import Watch as Watch

x = np.linspace(-1.0, 1.0, 48, dtype=np.float32).reshape(24, 2)
y = np.sin(3 * x.sum(1, keepdims=True))


def compiled(kind: Any = keras.Sequential, **options: Any) -> Any:
    """Return a model that is the same each time; batches of two make 12 steps an epoch."""
    keras.utils.set_random_seed(0)
    model = kind([keras.Input((2,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile("sgd", "mse", **options)
    return model


def fit(model: Any, *callbacks: Any, **options: Any) -> Any:
    """Fit with batches of two, and print nothing."""
    arguments = {"x": x, "y": y, "batch_size": 2, "verbose": 0, "shuffle": False, **options}
    return model.fit(**arguments, callbacks=list(callbacks))


class Measure(Callback):
    """Publishes what a function of the step gives, as a runner does."""

    def __init__(self, value: Callable[[int], float] = float, every: Scheduled = "1 epoch") -> None:
        self.every = every
        self.value = value

    def trigger(self) -> None:
        trainer = self.trainer
        scalars = {"validation/hit_rate@1": self.value(trainer.step)}
        record = Record(
            runner="validation", scalars=scalars, step=trainer.step, epoch=trainer.epoch
        )
        trainer.publish(record, dict)


class Logs(keras.callbacks.Callback):
    """Notes the logs that a callback of Keras is given after ours."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[dict[str, Any]] = []
        self.epochs: list[dict[str, Any]] = []
        self.end: dict[str, Any] = {}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches.append(dict(logs))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(dict(logs))

    def on_train_end(self, logs: Any = None) -> None:
        self.end = dict(logs)
