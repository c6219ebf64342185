"""The trainer for loops written with Hugging Face Accelerate."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from milepost.callbacks._callback import Callback
from milepost.callbacks._loop import Loop
from milepost.callbacks._record import Record
from milepost.callbacks.monitors import Monitor, default_monitors
from milepost.callbacks.trainers._accelerate_trackers import Trackers


def accelerate_loop(
    accelerator: Accelerator,
    model: Any,
    *,
    callbacks: Iterable[Callback] = (),
    rundir: str | Path | None = None,
    monitors: Iterable[Monitor | Callable[[Record], object]] | None = None,
    ema: Any = None,
    clock: Callable[[], float] = time.monotonic,
) -> Loop:
    """Return a `Loop` for training with an accelerator.

    A step is an update of the weights: under `accelerator.accumulate` the batches that only gather
    gradients are none. `accelerator.save_state` and `load_state` carry the loop's state, which is
    loaded before the loop is entered. Every process makes the loop; the main one logs.

    The data of runners is not to be prepared: every process examines its share of it.

    Args:
        accelerator: prepares and steps what is trained.
        model: the model in training, prepared or not; it is examined without its wrappers.
        callbacks: run at their moments, in this order.
        rundir: the folder of this training's files; made if it is not there. One that holds a run
            is refused, unless the loop goes on with a state that was loaded.
        monitors: where records go: monitors, and functions that are given each record. None: the
            accelerator's trackers, the terminal, and with a `rundir` JSON lines and TensorBoard
            (where it is installed).
        ema: a model that holds averaged weights, kept by you, for `weights="ema"`.
        clock: seconds that only grow.

    Raises:
        TypeError: `accelerator` is none.

    Example:
        >>> import torch
        >>> accelerator = Accelerator(cpu=True)
        >>> net, batches = torch.nn.Linear(1, 1), torch.ones(4, 2, 1)
        >>> net, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), 0.1))
        >>> with accelerate_loop(accelerator, net, monitors=[]) as loop:
        ...     for epoch in loop.epochs(3):
        ...         for batch in loop.steps(batches):
        ...             accelerator.backward(net(batch).mean())
        ...             optimizer.step()
        >>> loop.epoch, loop.step
        (3, 12)
    """
    if not isinstance(accelerator, Accelerator):
        msg = f"`accelerator` must be an Accelerator, got {accelerator!r}"
        raise TypeError(msg)
    if monitors is None:
        folder = None if rundir is None else Path(rundir)
        monitors = [*default_monitors(folder), Trackers(accelerator)]
    loop = Loop(
        accelerator.unwrap_model(model),
        callbacks=callbacks,
        rundir=rundir,
        monitors=monitors,
        ema=ema,
        is_step=lambda: accelerator.sync_gradients,
        clock=clock,
    )
    accelerator.register_for_checkpointing(loop)
    return loop
