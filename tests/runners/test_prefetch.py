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


def test_no_more_than_the_depth_is_read_ahead() -> None:
    read = []
    full = threading.Event()

    def counting() -> Generator[int, None, None]:
        for number in range(10):
            read.append(number)
            if number == 3:  # one taken, two waiting, one in the thread's hand
                full.set()
            yield number

    with Prefetch(counting(), depth=2) as items:
        next(iter(items))
        assert full.wait(5)
        assert len(read) <= 4


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
