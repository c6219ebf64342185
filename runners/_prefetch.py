"""Loading ahead on a thread, so that the model does not wait for the data."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar, final

from milepost.errors import StalledError

T = TypeVar("T")

_POLL_S = 0.05
_JOIN_S = 10.0  # a torch loader looks up every 5 s
_STALLED_JOIN_S = 1.0


@dataclass(frozen=True)
class _End:
    """The last thing in the queue: the source is done, or failed with `error`."""

    error: BaseException | None


@final
class Prefetch(Generic[T]):
    """Iterates over a generator that a thread reads ahead; a context manager that ends the thread.

    Order and content are those of the generator, for every depth. An error raised in the
    generator is raised here, at its place in the order.

    Args:
        source: what to read; it is closed on the thread that read it.
        depth: how many items may wait; at least 1.
        timeout_s: how long to wait for one item; None waits for ever.
        interrupt: ends what the thread may wait for, when it is not to go on.

    Attributes:
        abandoned: the name of the thread, if it hung in foreign code and had to be left behind.
    """

    def __init__(
        self,
        source: Generator[T, Any, Any],
        *,
        depth: int,
        timeout_s: float | None = None,
        interrupt: Callable[[], None] = lambda: None,
    ) -> None:
        self.abandoned: str | None = None
        self._source = source
        self._timeout_s = timeout_s
        self._stalled = False
        self._interrupt = interrupt
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="milepost-prefetch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        while not self._queue.empty():
            self._queue.get_nowait()
        self._interrupt()
        self._thread.join(_STALLED_JOIN_S if self._stalled else _JOIN_S)
        if self._thread.is_alive():
            self.abandoned = self._thread.name

    def __iter__(self) -> Iterator[T]:
        while True:
            try:
                item = self._queue.get(timeout=self._timeout_s)
            except queue.Empty:
                self._stalled = True
                msg = f"the source gave nothing for {self._timeout_s:g} s (`timeout_s`)"
                raise StalledError(msg) from None
            if not isinstance(item, _End):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                return

    def _fill(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._source:
                if not self._put(item):
                    break
        except BaseException as raised:  # raised again on the caller's thread
            error = raised
        finally:
            self._source.close()
        self._put(_End(error))

    def _put(self, item: T | _End) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False
