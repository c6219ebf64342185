"""Loading ahead on a thread, so that the model does not wait for the data."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar, final

from milepost.errors import StalledError

T = TypeVar("T")

_JOIN_S = 10.0  # a torch loader looks up every 5 s
_STALLED_JOIN_S = 1.0


@dataclass(frozen=True)
class _End:
    """The last of the items: the source is done, or failed with `error`."""

    error: BaseException | None


@final
class Prefetch(Generic[T]):
    """Iterates over a generator that a thread reads ahead; a context manager that ends the thread.

    Order and content are those of the generator, for every depth. An error raised in the
    generator is raised here, at its place in the order.

    Args:
        source: what to read; it is closed on the thread that read it.
        depth: how many items may wait, besides the one in the thread's hand; at least 1. The
            thread goes on when more than half of them are taken.
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
        self._depth = depth
        self._items: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()  # one entry an item that may wait
        self._make_room(depth)
        self._stopped = False
        self._thread = threading.Thread(target=self._fill, name="milepost-prefetch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped = True
        self._make_room(1)
        self._interrupt()
        self._thread.join(_STALLED_JOIN_S if self._stalled else _JOIN_S)
        if self._thread.is_alive():
            self.abandoned = self._thread.name

    def __iter__(self) -> Iterator[T]:
        taken = 0
        while True:
            try:
                item = self._items.get(timeout=self._timeout_s)
            except queue.Empty:
                self._stalled = True
                msg = f"the source gave nothing for {self._timeout_s:g} s (`timeout_s`)"
                raise StalledError(msg) from None
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            taken += 1
            if taken > self._depth // 2:  # for several at once: to wake the thread is what costs
                self._make_room(taken)
                taken = 0
            yield item

    def _fill(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._source:
                self._room.get()
                if self._stopped:
                    break
                self._items.put(item)
        except BaseException as raised:  # raised again on the caller's thread
            error = raised
        finally:
            self._source.close()
        self._items.put(_End(error))

    def _make_room(self, count: int) -> None:
        for _ in range(count):
            self._room.put(None)
