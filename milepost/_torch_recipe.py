"""A recipe: everything that a training with its examinations is made of."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, IterableDataset

from milepost._config import check_counts
from milepost.callbacks import Callback, Loop
from milepost.callbacks.monitors import Monitor, default_monitors
from milepost.predictors import OfflinePredictor
from milepost.runners import InferenceRunner


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training with its examinations.

    Args:
        model: any `torch.nn.Module`.
        loss: called with the model's output and the labels; a module's own parameters are trained
            with the model's.
        optimizer: a class, called with the parameters.
        train: a torch dataset, read in batches, in shuffled order where it has an order; or a
            loader, or any other iterable of batches, read as it is. A batch is one or more inputs,
            then the labels.
        runners: examinations, by the name that prefixes their metrics.
        callbacks: what else to do at moments of the training.
        monitors: where records go besides the usual places.
        epochs: how often to go through the training data.
        batch_size: samples a step, where `train` is a dataset.
        seed: of the weights, of the order of the samples, and of whatever else draws numbers.
        device: where to train; None takes a GPU where there is one.
        threads: threads that torch computes with on CPUs; None leaves the choice to torch. A small
            model is fastest with 1, and then gives the same numbers whatever the number of cores.
        rundir: the folder of metrics, curves and weights.
    """

    model: nn.Module
    loss: Callable[..., Any]
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    train: Any
    runners: dict[str, InferenceRunner] = field(default_factory=dict)
    callbacks: list[Callback] = field(default_factory=list)
    monitors: list[Monitor] = field(default_factory=list)
    epochs: int = 10
    batch_size: int = 64
    seed: int = 0
    device: str | None = None
    threads: int | None = None
    rundir: Path = Path("runs/milepost")

    def __post_init__(self) -> None:
        check_counts(epochs=self.epochs, batch_size=self.batch_size, threads=self.threads)
        choose_device(self.device)


def make_repeatable(seed: int, threads: int | None) -> None:
    """Seed the random numbers of Python, NumPy and torch, and set torch's threads."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if threads is not None and threads > 0:
        torch.set_num_threads(threads)


def choose_device(device: str | None) -> torch.device:
    """Return the device of that name, or the GPU if there is one.

    Raises:
        ValueError: there is no such device.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        msg = f"`device` must be one of this machine, got {name!r}"
        raise ValueError(msg) from error


def load(model: nn.Module, checkpoint: Path, device: str | None) -> nn.Module:
    """Return the model on the device, with the weights of a checkpoint.

    Raises:
        ValueError: the file holds no weights, or others than the model's.
    """
    try:
        weights = OfflinePredictor(model, checkpoint, strict=True).weights()
    except (ImportError, OSError, ValueError):
        raise
    except Exception as error:  # each format has errors of its own
        msg = f"{checkpoint} cannot be read: it is no file of torch.save's, and no .safetensors"
        raise ValueError(msg) from error
    model.load_state_dict(weights)
    return model.to(choose_device(device))


def train(recipe: Recipe) -> None:
    """Train the recipe's model with its runners and callbacks attached."""
    device = choose_device(recipe.device)
    model = recipe.model.to(device)
    modules = [part.to(device) for part in (model, recipe.loss) if isinstance(part, nn.Module)]
    optimizer = recipe.optimizer([p for part in modules for p in part.parameters()])
    batches = _batches(recipe)
    callbacks = [*recipe.runners.values(), *recipe.callbacks]
    monitors = [*default_monitors(recipe.rundir), *recipe.monitors]
    with Loop(model, callbacks=callbacks, rundir=recipe.rundir, monitors=monitors) as loop:
        for _ in loop.epochs(recipe.epochs):
            losses = []
            for batch in loop.steps(batches):
                *inputs, labels = _parts(batch, device)
                optimizer.zero_grad()
                loss = recipe.loss(model(*inputs), labels)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            if losses:
                loop.log({"train/loss": torch.stack(losses).mean()})


def _batches(recipe: Recipe) -> Iterable[Any]:
    data = recipe.train
    if not isinstance(data, Dataset):
        return cast(Iterable[Any], data)
    if isinstance(data, IterableDataset):
        return DataLoader(data, recipe.batch_size)
    order = torch.Generator().manual_seed(recipe.seed)
    return DataLoader(data, recipe.batch_size, shuffle=True, generator=order)


def _parts(batch: Any, device: torch.device) -> list[Any]:
    if not isinstance(batch, list | tuple) or len(batch) < 2:
        msg = (
            "a batch of `train` must be a tuple of inputs and, last, labels, "
            f"got {type(batch).__name__}; for others write a loop of your own with milepost.Loop"
        )
        raise TypeError(msg)
    return [part.to(device) if isinstance(part, Tensor) else part for part in batch]
