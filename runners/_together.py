"""What the ranks do in step: each works, then all know what each gave, or that it failed."""

from collections.abc import Callable
from typing import TypeVar

from milepost.callbacks import World
from milepost.errors import RankError

T = TypeVar("T")


def together(world: World, work: Callable[[], T]) -> list[T]:
    """Return what `work` gave on each rank, in rank order.

    No rank waits for one that failed: the one that failed raises its own error, all others a
    `RankError` that names it.
    """
    if world.size == 1:
        return [work()]
    value: T | None = None
    failure: Exception | None = None
    try:
        value = work()
    except Exception as error:  # raised again below, when all ranks know
        failure = error
    outcomes = world.gather((value, None if failure is None else describe(failure)))
    if failure is not None:
        raise failure
    for rank, (_, message) in enumerate(outcomes):
        if message is not None:
            msg = f"rank {rank} failed: {message}"
            raise RankError(msg)
    return [given for given, _ in outcomes]  # type: ignore[misc]  # no failure: each holds a value


def describe(error: BaseException) -> str:
    """Return an error in one line, its notes included."""
    return "; ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
