"""The monitors of a training that chose none."""

import importlib.util
from pathlib import Path

from milepost.callbacks.monitors._environment import EnvironmentFile
from milepost.callbacks.monitors._json_lines import JsonLines
from milepost.callbacks.monitors._monitor import Monitor
from milepost.callbacks.monitors._parquet_tables import ParquetTables
from milepost.callbacks.monitors._tensorboard import TensorBoard
from milepost.callbacks.monitors._terminal import Terminal


def default_monitors(rundir: Path | None, *, terminal: bool = True) -> list[Monitor]:
    """Return the terminal; with a folder, its files, and TensorBoard where it is installed.

    Args:
        rundir: the folder of the run.
        terminal: whether to print; not where the training prints what the callbacks log.
    """
    monitors: list[Monitor] = [Terminal()] if terminal else []
    if rundir is not None:
        monitors += file_monitors(rundir)
        if importlib.util.find_spec("tensorboard") is not None:
            monitors.append(TensorBoard(rundir))
    return monitors


def file_monitors(rundir: Path) -> list[Monitor]:
    """Return what keeps the results of a run in its folder: tables, then the line that has them."""
    return [
        EnvironmentFile(rundir / "environment.json"),
        ParquetTables(rundir / "tables"),
        JsonLines(rundir / "metrics.jsonl"),
    ]
