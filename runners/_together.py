"""What the ranks do in step: each works, then all know what each gave, or that it failed."""

from collections.abc import Callable
from typing import TypeVar, cast

from milepost.callbacks import World

T = TypeVar("T")


def together(world: World, work: Callable[[], T]) -> list[T]:
    """Return what `work` gave on each rank, in rank order.

    No rank waits for one that failed: the one that failed raises its own error, all others a
    `RankError` that names it.
    """
    value: T | None = None
    failure: Exception | None = None
    try:
        value = work()
    except Exception as error:  # raised again at once, when all ranks know
        failure = error
    world.raise_together(failure)
    return world.gather(cast(T, value))  # it is there: nothing failed


def describe(error: BaseException) -> str:
    """Return an error in one line, its notes included."""
    return "; ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
