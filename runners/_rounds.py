"""Totals merged over the workers, and every worker's rows handed to every worker."""

import itertools
import math
from collections.abc import Iterator
from functools import partial

from milepost.callbacks import World
from milepost.inferencers import Inferencer, PairInferencer, Rows
from milepost.runners._together import together

BLOCK_BYTES = 64 * 2**20


def merge(inferencer: Inferencer, world: World) -> None:
    """Add to each worker's totals those of all others."""
    states = together(world, inferencer.state)
    inferencer.merge([state for rank, state in enumerate(states) if rank != world.rank])


def scan(inferencer: PairInferencer, world: World, max_memory_bytes: int | None) -> None:
    """Run the rounds of an inferencer; its totals are merged before and after each.

    Args:
        inferencer: what compares the rows.
        world: the workers.
        max_memory_bytes: a quarter of it, and `BLOCK_BYTES` at most, is the size of the blocks in
            which rows travel between workers.
    """
    block_bytes = min(BLOCK_BYTES, (max_memory_bytes or 4 * BLOCK_BYTES) // 4)
    for number in itertools.count():
        if number >= max(together(world, lambda: inferencer.rounds)):
            return
        together(world, partial(_one_round, inferencer, world, number, block_bytes))
        merge(inferencer, world)


def _one_round(inferencer: PairInferencer, world: World, round: int, block_bytes: int) -> None:
    """Scan every worker's rows, in worker order.

    Every rank issues the same collectives, also one that has no rows or that fails: it goes on to
    take part, and raises when the round is over.
    """
    failure: Exception | None = None
    mine: Rows = {}
    try:
        inferencer.start_round(round)
        mine = inferencer.rows()
    except Exception as error:
        failure = error
    for part in _parts(mine, world, block_bytes):
        try:
            if failure is None:
                inferencer.scan(part, round)
        except Exception as error:
            failure = error
    if failure is not None:
        raise failure
    inferencer.end_round(round)


def _parts(mine: Rows, world: World, block_bytes: int) -> Iterator[Rows]:
    """Give the rows of all workers, in worker order and in blocks."""
    if world.size == 1:
        if mine:
            yield mine
        return
    count = len(mine["id"]) if mine else 0
    row_bytes = sum(_bytes(array) for array in mine.values()) / max(count, 1)
    block = max(1, int(block_bytes / max(row_bytes, 1)))
    for owner, (rows, step) in enumerate(world.gather((count, block))):
        for number in range(math.ceil(rows / step)):
            piece = slice(number * step, (number + 1) * step)
            own = owner == world.rank
            block_rows = {name: array[piece] for name, array in mine.items()} if own else None
            yield world.share(block_rows, owner)


def _bytes(array: object) -> int:
    return int(getattr(array, "nbytes", 0))
