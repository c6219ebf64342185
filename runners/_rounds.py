"""Totals merged over the workers, and every worker's rows handed to every worker."""

import itertools
import math
from functools import partial
from typing import Any

import numpy as np

from milepost.callbacks import World
from milepost.inferencers import Inferencer, PairInferencer, Rows
from milepost.runners._together import agree

BLOCK_BYTES = 64 * 2**20


def merge(inferencer: Inferencer, world: World) -> None:
    """Add to each worker's totals those of all others."""
    states = world.gather(agree(world, inferencer.state))
    others = [state for rank, state in enumerate(states) if rank != world.rank]
    agree(world, partial(inferencer.merge, others))


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
        if number >= max(world.gather(agree(world, lambda: inferencer.rounds))):
            return
        _one_round(inferencer, world, number, block_bytes)
        merge(inferencer, world)


def _one_round(inferencer: PairInferencer, world: World, round: int, block_bytes: int) -> None:
    """Scan every worker's rows, in worker order.

    Every rank issues the same collectives, also one that fails: it goes on to take part, and
    raises when the round is over.
    """

    def prepare() -> list[Rows]:
        inferencer.start_round(round)
        rows = inferencer.rows()
        return [rows] if world.size == 1 and rows else blocks(rows, block_bytes)

    mine = agree(world, prepare)
    failure: Exception | None = None
    for owner, count in enumerate(world.gather(len(mine))):
        for number in range(count):
            part = world.share(mine[number] if owner == world.rank else None, owner)
            try:
                if failure is None:
                    inferencer.scan(part, round)
            except Exception as error:
                failure = error

    def finish() -> None:
        if failure is not None:
            raise failure
        inferencer.end_round(round)

    agree(world, finish)


def blocks(rows: Rows, block_bytes: int) -> list[Rows]:
    """Return the rows in blocks of about so many bytes."""
    count = len(rows["id"]) if rows else 0
    row_bytes = sum(map(_bytes_of, rows.values())) / max(count, 1)
    step = max(1, int(block_bytes / max(row_bytes, 1)))
    pieces = [slice(k * step, (k + 1) * step) for k in range(math.ceil(count / step))]
    return [{name: array[piece] for name, array in rows.items()} for piece in pieces]


def _bytes_of(array: Any) -> int:
    """Return how many bytes an array takes, those of its objects included."""
    own: int = getattr(array, "nbytes", 0)
    has_objects = isinstance(array, np.ndarray) and array.dtype.hasobject
    return own + (sum(map(len, array)) if has_objects else 0)
