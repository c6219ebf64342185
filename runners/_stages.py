"""Where the wall time of a run goes."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar, final

T = TypeVar("T")


@final
class Stages:
    """Wall time by stage, on one thread; time in a stage within another counts to the inner."""

    def __init__(self) -> None:
        self._started = self._mark = time.perf_counter()
        self._seconds = {"load": 0.0, "forward": 0.0, "update": 0.0, "compute": 0.0}
        self._within: list[str] = []

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count the time of the body to a stage."""
        self._enter(stage)
        try:
            yield
        finally:
            self._leave()

    def iterate(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """Give the items, and count the wait for each to a stage."""
        iterator = iter(items)
        while True:
            self._enter(stage)
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self._leave()
            yield item

    def _enter(self, stage: str) -> None:
        self._count()
        self._within.append(stage)

    def _leave(self) -> None:
        self._count()
        self._within.pop()

    def _count(self) -> None:
        now = time.perf_counter()
        if self._within:
            self._seconds[self._within[-1]] += now - self._mark
        self._mark = now

    def timings(self, samples: int) -> dict[str, float]:
        """Return seconds by stage and in all, samples a second, and the process's peak memory."""
        total = time.perf_counter() - self._started
        return {
            **{f"time/{stage}_s": seconds for stage, seconds in self._seconds.items()},
            "time/total_s": total,
            "samples_per_s": samples / total,
            **_peak_memory(),
        }


def _peak_memory() -> dict[str, float]:
    """Return the largest resident memory of this process so far, where the system tells it."""
    if sys.platform == "win32":
        return {}
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_memory_bytes": float(peak * unit)}
