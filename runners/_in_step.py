"""As many batches on every rank, for a model whose forward pass is itself a collective."""

from collections.abc import Iterator
from dataclasses import replace

from milepost.callbacks import World
from milepost.runners._batch import Batch
from milepost.runners._together import agree


def in_step(batches: Iterator[Batch], world: World) -> Iterator[Batch]:
    """Give the batches, and then spare ones until all ranks have given theirs.

    The collectives that this takes are not felt beside those of the forward passes. An error of
    one rank ends the iteration on all.
    """
    firsts = world.gather(agree(world, lambda: next(batches, None)))
    batch = firsts[world.rank]
    others = [first for first in firsts if first is not None]
    if not others:
        return
    spare = replace(others[0], is_spare=True)
    more = True
    while more:
        yield spare if batch is None else batch
        batch = agree(world, lambda: next(batches, None))
        more = any(world.gather(batch is not None))
