"""What a loader's sampler draws: positions in the dataset, by batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Generator
from torch.utils.data import BatchSampler, DataLoader

Plan = list[list[int]]
"""Batches, each as positions in the dataset."""


def inner_sampler(loader: DataLoader[Any]) -> Any:
    """Return what draws the positions, seen through wrappers of batch samplers."""
    sampler: Any = loader.batch_sampler
    while hasattr(sampler, "batch_sampler"):  # Accelerate's shards of a batch sampler
        sampler = sampler.batch_sampler
    if type(sampler) is BatchSampler:
        return sampler.sampler
    return sampler


@contextmanager
def generators_kept(*owners: Any) -> Iterator[None]:
    """Give back the generators of a loader and its samplers, which the training may share."""
    found = [getattr(owner, "generator", None) for owner in owners]
    states = [(each, each.get_state()) for each in found if isinstance(each, Generator)]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


def positions_of(drawn: Sequence[Any]) -> list[int]:
    """Return what a sampler drew as positions.

    Raises:
        TypeError: it draws something else.
    """
    try:
        return [position.__index__() for position in drawn]
    except AttributeError as error:
        msg = f"`data` must have a sampler that draws positions, got {list(drawn)[:3]!r}"
        raise TypeError(msg) from error


def join(plan: Plan) -> list[int]:
    """Return the positions of all batches."""
    return [position for batch in plan for position in batch]


def is_one_set(draws: Sequence[list[int]], rank: int) -> bool:
    """Tell whether all ranks drew the same positions, to be sharded, or each its own share."""
    sets = [set(drawn) for drawn in draws]
    if len(sets[rank]) < len(draws[rank]):
        msg = (
            f"`data` must give each sample once, got a sampler that drew {len(draws[rank])} "
            f"positions, {len(sets[rank])} of them distinct; pass the dataset itself"
        )
        raise ValueError(msg)
    if all(other == sets[0] for other in sets):
        return True
    if len(set().union(*sets)) == sum(map(len, sets)):
        return False
    msg = "`data` must be one set: the samplers of the ranks drew sets that differ and overlap"
    raise ValueError(msg)
