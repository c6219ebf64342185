"""Where records go: terminal, files, TensorBoard, Weights & Biases, MLflow, functions."""

import typing as _typing

from milepost import _plugins
from milepost.callbacks.monitors._csv import Csv as Csv
from milepost.callbacks.monitors._defaults import default_monitors as default_monitors
from milepost.callbacks.monitors._defaults import file_monitors as file_monitors
from milepost.callbacks.monitors._json_lines import JsonLines as JsonLines
from milepost.callbacks.monitors._mlflow import MLflow as MLflow
from milepost.callbacks.monitors._monitor import FunctionMonitor as FunctionMonitor
from milepost.callbacks.monitors._monitor import Monitor as Monitor
from milepost.callbacks.monitors._monitors import Monitors as Monitors
from milepost.callbacks.monitors._parquet_tables import ParquetTables as ParquetTables
from milepost.callbacks.monitors._tensorboard import TensorBoard as TensorBoard
from milepost.callbacks.monitors._terminal import Terminal as Terminal
from milepost.callbacks.monitors._wandb import WandB as WandB

if not _typing.TYPE_CHECKING:  # a type checker would take any name at all to exist

    def __getattr__(name: str) -> object:
        return _plugins.resolve("monitors", name, globals())


def __dir__() -> list[str]:
    return sorted({*globals(), *_plugins.registered("monitors")})
