"""The ranks of `torch.distributed` as a world."""

import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, final

import numpy as np
import torch
import torch.distributed as dist

from milepost.callbacks._world import World
from milepost.errors import LostRankError

T = TypeVar("T")


@final
class TorchWorld(World):
    """The ranks of `torch.distributed`, through a gloo group of its own.

    So it works beside NCCL, and leaves the collectives of the training alone. After a
    `LostRankError` it is of no more use: the ranks cannot be brought together again.

    Args:
        timeout_s: how long a rank may let the others wait. One that died is noticed at once.
    """

    def __init__(self, *, timeout_s: float = 1800.0) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self._timeout = datetime.timedelta(seconds=timeout_s)
        self._group: Any = dist.new_group(backend="gloo", timeout=self._timeout)

    def gather(self, value: T) -> list[T]:
        """Return the value of every rank, in rank order, on every rank."""
        values: list[Any] = [None] * self.size
        with self._together():
            dist.all_gather_object(values, value, group=self._group)
        return values

    def broadcast(self, value: T, source: int = 0) -> T:
        """Return the value of the rank `source` on every rank."""
        values = [value]
        with self._together():
            dist.broadcast_object_list(values, src=source, group=self._group)
        return values[0]

    def share(self, arrays: Mapping[str, Any] | None, source: int = 0) -> Mapping[str, Any]:
        """Return the arrays of the rank `source` on every rank; their bytes travel unpickled."""
        own = dict(arrays or {}) if self.rank == source else {}
        plans = self.broadcast({name: _plan(array) for name, array in own.items()}, source)
        shared = own or {name: _from_plan(*plan) for name, plan in plans.items()}
        with self._together():
            for name, (kind, _, _) in plans.items():
                if kind == "objects":
                    boxed = [shared[name]]
                    dist.broadcast_object_list(boxed, src=source, group=self._group)
                    shared[name] = boxed[0]
                elif (content := _content(shared[name])).numel():
                    dist.broadcast(content, src=source, group=self._group)
        return shared

    def close(self) -> None:
        """Give back the group."""
        group, self._group = self._group, None
        if group is not None and dist.is_initialized():
            dist.destroy_process_group(group)

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """Wait for every rank, then run collectives; the error of a lost rank names it."""
        if self._group is None:
            msg = "the ranks are no longer together: this world is closed"
            raise LostRankError(msg)
        try:
            lost = self._call_roll()
            if not lost:
                yield
                return
            who = "rank " + ", ".join(map(str, lost))
            cause = None
        except RuntimeError as error:
            who, cause = "another rank", error
        self.close()  # a rank that still waits for this one sees the connection end
        msg = f"{who} is dead, or did not answer within {self._timeout.total_seconds():g} s"
        raise LostRankError(msg) from cause

    def _call_roll(self) -> list[int]:
        """Wait for every rank; return those that do not answer, the same on every rank.

        Each tells the chief, who tells each what was found.
        """
        absent = torch.zeros(self.size, dtype=torch.uint8)
        if self.rank == 0:
            for rank in range(1, self.size):
                absent[rank] = not self._reach(dist.irecv, absent[rank : rank + 1], rank)
            for rank in range(1, self.size):
                if not absent[rank]:
                    self._reach(dist.isend, absent, rank)
        else:
            present = self._reach(dist.isend, torch.zeros(1, dtype=torch.uint8), 0)
            absent[0] = not (present and self._reach(dist.irecv, absent, 0))
        return [rank for rank, flag in enumerate(absent.tolist()) if flag]

    def _reach(self, pass_on: Callable[..., Any], content: torch.Tensor, rank: int) -> bool:
        """Send to a rank or receive from it; False if it cannot be reached."""
        try:
            pass_on(content, rank, group=self._group).wait()
        except RuntimeError:
            return False
        return True


def _plan(array: Any) -> tuple[str, Any, tuple[int, ...]]:
    """The kind, dtype and shape of an array."""
    if isinstance(array, torch.Tensor):
        return "tensor", array.dtype, tuple(array.shape)
    array = np.asarray(array)
    return ("objects" if array.dtype.hasobject else "array"), array.dtype, array.shape


def _from_plan(kind: str, dtype: Any, shape: tuple[int, ...]) -> Any:
    """An array for what is to come."""
    return torch.empty(shape, dtype=dtype) if kind == "tensor" else np.empty(shape, dtype)


def _content(array: Any) -> torch.Tensor:
    """The bytes of an array: of the array itself where it is contiguous and on the CPU."""
    if isinstance(array, torch.Tensor):
        return array.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    flat = np.ascontiguousarray(array).reshape(-1)
    return torch.from_numpy(flat.view(np.uint8) if flat.size else np.empty(0, np.uint8))
