"""Where the wall time of a run goes."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar, final

T = TypeVar("T")


_ALWAYS = ("load", "forward", "update", "compute")
_NONE = "none"


@final
class Stages:
    """Wall time by stage, on one thread; time in a stage within another counts to the inner."""

    def __init__(self) -> None:
        self._started = self._mark = time.perf_counter()
        self._stage = _NONE
        self._seconds = dict.fromkeys((*_ALWAYS, _NONE), 0.0)

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count the time of the body to a stage; one that never ran is not in the timings."""
        outer = self._switch(stage)
        try:
            yield
        finally:
            self._switch(outer)

    def iterate(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """Give the items, and count the wait for each to a stage."""
        iterator = iter(items)
        while True:
            outer = self._switch(stage)
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self._switch(outer)
            yield item

    def _switch(self, stage: str) -> str:
        """Go over to a stage; return the one that ends, to which the time until now counts."""
        now = time.perf_counter()
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._mark
        ended, self._stage, self._mark = self._stage, stage, now
        return ended

    def timings(self, samples: int) -> dict[str, float]:
        """Return seconds by stage and in all, samples a second, and the process's peak memory."""
        total = time.perf_counter() - self._started
        return {
            **{
                f"time/{name}_s": seconds
                for name, seconds in self._seconds.items()
                if name != _NONE
            },
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
