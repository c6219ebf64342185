"""What the ranks do in step: each works by itself, then all know that none failed."""

from collections.abc import Callable
from typing import TypeVar

from milepost.callbacks import World
from milepost.errors import RankError

T = TypeVar("T")

_KNOWN = "_milepost_known_to_all_ranks"


def agree(world: World, work: Callable[[], T]) -> T:
    """Return what `work` gave on this rank, if it failed on none.

    No rank waits for one that failed: the one that failed raises its own error, all others a
    `RankError` that names it. Calls nest: an error that all ranks know already is passed on.
    """
    failure: Exception | None = None
    try:
        value = work()
    except RankError:  # all ranks know, or cannot be asked any more
        raise
    except Exception as error:
        if hasattr(error, _KNOWN):
            raise
        failure = error
    if failure is not None:
        setattr(failure, _KNOWN, True)
    world.raise_together(failure)
    return value


def describe(error: BaseException) -> str:
    """Return an error in one line, its notes included."""
    return "; ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
