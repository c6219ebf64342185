"""The monitors of a training that chose none."""

import importlib.util
from pathlib import Path

from milepost.callbacks.monitors._json_lines import JsonLines
from milepost.callbacks.monitors._monitor import Monitor
from milepost.callbacks.monitors._tensorboard import TensorBoard
from milepost.callbacks.monitors._terminal import Terminal


def default_monitors(rundir: Path | None) -> list[Monitor]:
    """Return the terminal; with a folder, JSON lines and TensorBoard where it is installed too."""
    monitors: list[Monitor] = [Terminal()]
    if rundir is not None:
        monitors.append(JsonLines(rundir / "metrics.jsonl"))
        if importlib.util.find_spec("tensorboard") is not None:
            monitors.append(TensorBoard(rundir))
    return monitors
