"""As many batches on every rank, for a model whose forward pass is itself a collective."""

from collections.abc import Iterator
from dataclasses import replace

from milepost.callbacks import World
from milepost.runners._batch import Batch
from milepost.runners._together import together


def in_step(batches: Iterator[Batch], world: World) -> Iterator[Batch]:
    """Give the batches, and then spare ones until all ranks have given theirs.

    The collectives that this takes are not felt beside those of the forward passes. An error of
    one rank's source ends the iteration on all.
    """
    firsts = together(world, lambda: next(batches, None))
    batch = firsts[world.rank]
    others = [first for first in firsts if first is not None]
    while others:
        yield replace(others[0], is_spare=True) if batch is None else batch
        batch, more = _next(batches, world)
        if not more:
            return


def _next(batches: Iterator[Batch], world: World) -> tuple[Batch | None, bool]:
    """Return this rank's next batch, and whether any rank has one."""
    taken: list[Batch | None] = []

    def take() -> bool:
        taken.append(next(batches, None))
        return taken[0] is not None

    more = together(world, take)
    return taken[0], any(more)
