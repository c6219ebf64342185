"""The processes that train together."""

import abc
import sys
from collections.abc import Mapping
from typing import Any, TypeVar, final

from milepost.errors import RankError

T = TypeVar("T")


class World(abc.ABC):
    """The processes that train together, as one of them sees it.

    Every method is a collective: all ranks call it, in the same order.

    Attributes:
        rank: which process this is, from 0.
        size: how many there are.
    """

    rank: int
    size: int

    @property
    def is_chief(self) -> bool:
        """Whether this process decides and logs for all."""
        return self.rank == 0

    @abc.abstractmethod
    def gather(self, value: T) -> list[T]:
        """Return the value of every rank, in rank order, on every rank.

        Args:
            value: small and picklable.

        Raises:
            LostRankError: another rank is dead or did not come in time.
        """

    @abc.abstractmethod
    def broadcast(self, value: T, source: int = 0) -> T:
        """Return the value of the rank `source` on every rank; `gather` states the limits."""

    @abc.abstractmethod
    def share(self, arrays: Mapping[str, Any] | None, source: int = 0) -> Mapping[str, Any]:
        """Return the arrays of the rank `source` on every rank.

        The source gets its own argument back; the others NumPy arrays for NumPy arrays and
        tensors on the CPU for tensors, of the same dtype. Memory: the arrays once on each rank.

        Args:
            arrays: NumPy arrays and tensors by name; what other ranks than `source` pass is
                not read.
            source: the rank that has the arrays.
        """

    def raise_together(self, error: Exception | None) -> None:
        """Raise on every rank if one of them has an error.

        Args:
            error: what went wrong on this rank; None if nothing did.

        Raises:
            Exception: `error` itself, on the rank that has one.
            RankError: on the others; it names the ranks that failed, with their messages.
        """
        messages = self.gather(None if error is None else f"{type(error).__name__}: {error}")
        if error is not None:
            raise error
        failed = [f"rank {rank} failed ({text})" for rank, text in enumerate(messages) if text]
        if failed:
            raise RankError("; ".join(failed))

    def close(self) -> None:  # noqa: B027  optional
        """Give back what the world holds; it is not used afterwards."""


@final
class Solo(World):
    """The world of one process."""

    rank = 0
    size = 1

    def gather(self, value: T) -> list[T]:
        """Return `[value]`."""
        return [value]

    def broadcast(self, value: T, source: int = 0) -> T:
        """Return `value`."""
        return value

    def share(self, arrays: Mapping[str, Any] | None, source: int = 0) -> Mapping[str, Any]:
        """Return `arrays` itself."""
        return {} if arrays is None else arrays


def current_world() -> World:
    """Return the world this process is in: the ranks of `torch.distributed`, or itself alone.

    All ranks call it together; who calls it closes it.
    """
    torch = sys.modules.get("torch")
    distributed = torch and torch.distributed.is_available() and torch.distributed.is_initialized()
    if torch is None or not distributed or torch.distributed.get_world_size() == 1:
        return Solo()
    from milepost.callbacks._torch_world import TorchWorld

    return TorchWorld()
