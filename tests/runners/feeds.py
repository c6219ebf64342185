"""Feeds of ten rows that are read by every rank in turn."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from milepost.callbacks import World
from milepost.runners._feed import Feed
from milepost.runners._source import Loading

N = 10
EVERYTHING = [(i, float(i)) for i in range(N)]


class Rank(World):
    """A world to read a share in; nothing is gathered."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def gather(self, value: Any) -> list[Any]:
        raise AssertionError

    broadcast = share = gather  # type: ignore[assignment]


class Reiterable:
    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def read(
    data: Any,
    size: int = 1,
    loading: Loading | None = None,
    fields: tuple[str, ...] | None = None,
    declared: int | None = None,
) -> list[Any]:
    """Return (id, first field) of all rows, rank by rank, in the order of reading."""
    rows: list[Any] = []
    loading = loading or Loading()
    feeds = [Feed(data, fields=fields, size=declared, loading=loading) for _ in range(size)]
    draws = [feed.draw() for feed in feeds]
    for rank, feed in enumerate(feeds):
        for batch in feed.open(Rank(rank, size), draws):
            first = next(iter(batch.fields.values()))
            rows.extend(zip(batch.ids.tolist(), np.asarray(first).tolist(), strict=True))
    return rows
