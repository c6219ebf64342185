"""Trainings whose best weights are kept, and what was kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file as load_arrays

from milepost.callbacks import KeepBest, Loop, Record
from tests.kinds import CONVERTERS

METRIC = "validation/hit_rate@1"


def weights(value: float) -> dict[str, Any]:
    """Weights that hold a value, tensors of torch where it is installed."""
    return {"w": CONVERTERS[-1](np.array([value], np.float32))}


def publish(loop: Loop, value: float, weights: Mapping[str, Any], name: str = METRIC) -> None:
    record = Record(runner="validation", scalars={name: value}, step=loop.step, epoch=loop.epoch)
    loop.publish(record, lambda: weights)


def train(keep: KeepBest, values: list[float], rundir: Path | None, **more: Any) -> Loop:
    """Publish a value a step, with weights that hold it."""
    loop = Loop(None, callbacks=[keep], rundir=rundir, monitors=[])
    if "state" in more:
        loop.load_state_dict(more["state"])
    with loop:
        for value in loop.steps(values):
            publish(loop, value, weights(value))
    return loop


def kept(path: Path) -> float:
    return float(load_arrays(path)["w"].item())
