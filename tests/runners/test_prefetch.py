import threading
from collections.abc import Generator

import pytest

from milepost.errors import StalledError
from milepost.runners._prefetch import Prefetch


def numbers(count: int) -> Generator[int, None, None]:
    yield from range(count)


@pytest.mark.parametrize("depth", [1, 2, 10])
def test_the_order_is_that_of_the_source_at_every_depth(depth: int) -> None:
    with Prefetch(numbers(50), depth=depth) as items:
        assert list(items) == list(range(50))


def test_an_error_of_the_source_is_raised_at_its_place_with_its_cause() -> None:
    def failing() -> Generator[int, None, None]:
        yield 1
        msg = "no such file"
        raise OSError(msg)

    seen: list[int] = []
    with pytest.raises(OSError, match=r"^no such file$"), Prefetch(failing(), depth=5) as items:
        seen.extend(items)
    with Prefetch(failing(), depth=5) as items:
        assert next(iter(items)) == 1


def test_leaving_early_closes_the_source_and_ends_the_thread() -> None:
    closed = threading.Event()

    def endless() -> Generator[int, None, None]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    with Prefetch(endless(), depth=2) as items:
        next(iter(items))
    assert closed.is_set()
    assert threading.active_count() == before


@pytest.mark.parametrize("depth", [1, 2, 3, 10])
def test_the_depth_bounds_what_is_read_ahead(depth: int) -> None:
    read: list[int] = []
    ahead = threading.Semaphore(0)

    def counting() -> Generator[int, None, None]:
        for number in range(40):
            read.append(number)
            ahead.release()
            yield number

    least = depth - depth // 2  # besides the one in the thread's hand
    with Prefetch(counting(), depth=depth) as items:
        for taken, _ in zip(range(1, 20), items, strict=False):
            while len(read) < taken + least + 1:
                assert ahead.acquire(timeout=5)
            assert len(read) <= taken + depth + 1


def test_a_source_that_stalls_is_an_error_and_its_thread_is_named_as_abandoned() -> None:
    released = threading.Event()

    def stalling() -> Generator[int, None, None]:
        yield 1
        released.wait()

    prefetch = Prefetch(stalling(), depth=1, timeout_s=0.05)
    try:
        with pytest.raises(StalledError, match=r"^the source gave nothing for 0.05 s"), prefetch:
            list(prefetch)
        assert prefetch.abandoned == "milepost-prefetch"
    finally:
        released.set()
