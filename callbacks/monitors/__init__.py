"""Where records go: terminal, files, TensorBoard, functions."""

from milepost.callbacks.monitors._csv import Csv as Csv
from milepost.callbacks.monitors._defaults import default_monitors as default_monitors
from milepost.callbacks.monitors._defaults import file_monitors as file_monitors
from milepost.callbacks.monitors._json_lines import JsonLines as JsonLines
from milepost.callbacks.monitors._monitor import FunctionMonitor as FunctionMonitor
from milepost.callbacks.monitors._monitor import Monitor as Monitor
from milepost.callbacks.monitors._monitors import Monitors as Monitors
from milepost.callbacks.monitors._parquet_tables import ParquetTables as ParquetTables
from milepost.callbacks.monitors._tensorboard import TensorBoard as TensorBoard
from milepost.callbacks.monitors._terminal import Terminal as Terminal
