"""Where records go: terminal, files, TensorBoard, functions."""

from milepost.callbacks.monitors._monitor import FunctionMonitor as FunctionMonitor
from milepost.callbacks.monitors._monitor import Monitor as Monitor
from milepost.callbacks.monitors._monitors import Monitors as Monitors
