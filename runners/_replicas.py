"""Several devices of one process: whole batches to whichever is free."""

import queue
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def map_over(workers: Sequence[Callable[[T], U]], items: Iterable[T]) -> Generator[U, None, None]:
    """Give `worker(item)` for each item, by whichever worker is free, in the order of completion.

    One worker runs on the caller's thread; several have a thread each, and no more items are
    taken than there are workers. All threads have ended when the iterator is closed.
    """
    if len(workers) == 1:
        yield from map(workers[0], items)
        return
    free: queue.SimpleQueue[Callable[[T], U]] = queue.SimpleQueue()
    for worker in workers:
        free.put(worker)

    def work(item: T) -> U:
        worker = free.get()
        try:
            return worker(item)
        finally:
            free.put(worker)

    with ThreadPoolExecutor(len(workers), thread_name_prefix="milepost-replica") as pool:
        pending: set[Future[U]] = set()
        for item in items:
            pending.add(pool.submit(work, item))
            if len(pending) == len(workers):
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
