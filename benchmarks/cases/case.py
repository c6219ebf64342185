"""What a case is: sides that do the same work, a function each, and how they are measured."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from benchmarks.memory import HostMemory

Run = Callable[[], Any]
Make = Callable[..., Run]  # of rows, labels and the row's options


class Memory(Protocol):
    """Made before a run, and asked after it."""

    def added_mb(self) -> float: ...


class Case(NamedTuple):
    """The sides of a case by name, and how it is measured.

    Attributes:
        sides: what prepares a side and returns what is timed.
        clock: CPU seconds, of which one thread takes no more than pass.
        memory: what measures the peak.
    """

    sides: Mapping[str, Make]
    clock: Callable[[], float] = time.process_time
    memory: Callable[[], Memory] = HostMemory
