"""Several monitors as one, and what they were given."""

import array
import functools
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

from milepost.callbacks._record import Record
from milepost.callbacks.monitors._monitor import FunctionMonitor, Monitor
from milepost.errors import unknown_name


@final
class Monitors(Monitor):
    """Several monitors as one, and the history of each scalar.

    One that fails does not end the training: the first failure is a warning that names it, and
    the others still write. Memory: 16 bytes a scalar.

    Args:
        monitors: each a monitor, or a function that is given each record.
    """

    def __init__(self, monitors: Iterable[Monitor | Callable[[Record], object]] = ()) -> None:
        self._monitors = tuple(_as_monitor(monitor) for monitor in monitors)
        self._ask()
        self._failed: set[Monitor] = set()
        self._history: dict[str, tuple[array.array[int], array.array[float]]] = {}

    def describe(self, config: Mapping[str, Any]) -> None:
        """Tell each."""
        for monitor in self._monitors:
            monitor.describe(config)

    def open(self) -> None:
        """Open each; the first error is raised."""
        for monitor in self._monitors:
            monitor.open()
        self._ask()

    def write(self, record: Record) -> None:
        """Give the record to each, and remember its scalars and timings."""
        step = -1 if record.step is None else record.step
        for scalars in (record.scalars, record.timings):
            for name, value in scalars.items():
                steps, values = self._history.setdefault(name, (array.array("q"), array.array("d")))
                steps.append(step)
                values.append(value)
        for monitor in self._monitors:
            self._attempt(monitor, functools.partial(monitor.write, record))

    def flush(self) -> None:
        """Flush each."""
        for monitor in self._monitors:
            self._attempt(monitor, monitor.flush)

    def on_exception(self, error: BaseException) -> None:
        """Tell each."""
        for monitor in self._monitors:
            self._attempt(monitor, functools.partial(monitor.on_exception, error))

    def close(self) -> None:
        """Close each."""
        for monitor in self._monitors:
            self._attempt(monitor, monitor.close)

    def get_latest(self, name: str) -> float:
        """Return the latest value of a scalar of this process.

        Raises:
            UnknownNameError: nothing of that name was logged.
        """
        return self._find(name)[1][-1]

    def get_history(self, name: str) -> list[tuple[int | None, float]]:
        """Return the step and the value of each record that held a scalar, oldest first.

        Raises:
            UnknownNameError: nothing of that name was logged.
        """
        steps, values = self._find(name)
        return [
            (None if step < 0 else step, value) for step, value in zip(steps, values, strict=True)
        ]

    def __repr__(self) -> str:
        return f"Monitors({list(self._monitors)})"

    def _ask(self) -> None:
        """Note what they look at, which one that writes to others knows once it is open."""
        self.takes_tables = any(monitor.takes_tables for monitor in self._monitors)
        self.takes_pictures = any(monitor.takes_pictures for monitor in self._monitors)

    def _find(self, name: str) -> tuple["array.array[int]", "array.array[float]"]:
        if name not in self._history:
            raise unknown_name("metric", name, self._history)
        return self._history[name]

    def _attempt(self, monitor: Monitor, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # a full disk must not lose the training
            if monitor in self._failed:
                return
            self._failed.add(monitor)
            msg = f"{monitor!r} failed ({type(error).__name__}: {error}); the training goes on"
            warnings.warn(msg, RuntimeWarning, stacklevel=3)


def _as_monitor(monitor: Monitor | Callable[[Record], object]) -> Monitor:
    if isinstance(monitor, Monitor):
        return monitor
    if callable(monitor) and not isinstance(monitor, type):
        return FunctionMonitor(monitor)
    msg = f"`monitors` must hold monitors and functions, got {monitor!r}"
    raise TypeError(msg)
