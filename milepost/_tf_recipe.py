"""A recipe for Keras: everything that a training with its examinations is made of."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import keras
import tensorflow as tf

from milepost._config import check_counts
from milepost.callbacks import Callback
from milepost.callbacks.monitors import Monitor, default_monitors
from milepost.callbacks.trainers import keras as attach
from milepost.predictors import OfflinePredictor
from milepost.predictors._tf_parts import named_variables
from milepost.runners import InferenceRunner


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training by `fit` with its examinations.

    Args:
        model: any `keras.Model`.
        loss: as `compile` takes it: a loss, a function, or a name.
        optimizer: a Keras optimizer.
        train: a mapping of arrays, of which the last are the labels, read in batches in shuffled
            order; or a `tf.data.Dataset` or `PyDataset` of batches, read as it is.
        runners: examinations, by the name that prefixes their metrics.
        callbacks: what else to do at moments of the training.
        monitors: where records go besides the usual places.
        epochs: how often to go through the training data.
        batch_size: samples a step, where `train` is a mapping.
        seed: of the weights, of the order of the samples, and of whatever else draws numbers.
        threads: threads that TensorFlow computes with on CPUs; None leaves the choice to it. It
            counts only where TensorFlow has not run yet.
        rundir: the folder of metrics, curves and weights.
    """

    model: keras.Model
    loss: Any
    optimizer: keras.optimizers.Optimizer
    train: Any
    runners: dict[str, InferenceRunner] = field(default_factory=dict)
    callbacks: list[Callback] = field(default_factory=list)
    monitors: list[Monitor] = field(default_factory=list)
    epochs: int = 10
    batch_size: int = 64
    seed: int = 0
    threads: int | None = None
    rundir: Path = Path("runs/milepost")

    def __post_init__(self) -> None:
        check_counts(epochs=self.epochs, batch_size=self.batch_size, threads=self.threads)


def make_repeatable(seed: int, threads: int | None) -> None:
    """Seed the random numbers of Python, NumPy and TensorFlow, and set TensorFlow's threads."""
    keras.utils.set_random_seed(seed)
    if threads is None or threads < 1:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        msg = f"`threads` is {threads}, but TensorFlow runs already and keeps its own number"
        warnings.warn(msg, RuntimeWarning, stacklevel=2)


def load(model: Any, checkpoint: Path, device: str | None) -> Any:
    """Return the model with the weights of a checkpoint; TensorFlow chooses the device.

    Raises:
        ValueError: the file holds no weights, or others than the model's.
    """
    weights = OfflinePredictor(model, checkpoint, strict=True).weights()
    for name, variable in named_variables(model).items():
        variable.assign(weights[name])
    return model


def train(recipe: Recipe) -> None:
    """Train the recipe's model with its runners and callbacks attached."""
    recipe.model.compile(optimizer=recipe.optimizer, loss=recipe.loss)
    callback = attach(
        *recipe.runners.values(),
        *recipe.callbacks,
        rundir=recipe.rundir,
        monitors=[*default_monitors(recipe.rundir), *recipe.monitors],
    )
    how = {"epochs": recipe.epochs, "callbacks": [callback], "verbose": 0}
    if not isinstance(recipe.train, Mapping):
        recipe.model.fit(recipe.train, **how)
        return
    *inputs, labels = recipe.train
    x = recipe.train[inputs[0]] if len(inputs) == 1 else {x: recipe.train[x] for x in inputs}
    recipe.model.fit(x, recipe.train[labels], batch_size=recipe.batch_size, **how)
