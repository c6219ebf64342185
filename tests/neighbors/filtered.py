"""Searches through the float32 filter, held against the search that scores every pair."""

from typing import Any, get_args

import numpy as np
import pytest

from milepost.neighbors import Distance, Neighbors, search
from milepost.neighbors._filter import Filter
from tests.kinds import CONVERTERS

Array = np.ndarray[Any, np.dtype[Any]]
DISTANCES: tuple[Distance, ...] = get_args(Distance)
D = 64
Q = (1 << 17) // D + 100  # more than the first block
SMALL = 1 << 20  # a budget too small for the filter


def normal(seed: int, rows: int, dimension: int = D) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)


class Spy:
    """Counts how many queries each try was given, and how many it settled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tries: list[tuple[int, int, int]] = []
        original = Filter.nearest

        def nearest(
            filter: Filter, queries: Any, exclude: Any, k: int, width: int, *best: Any
        ) -> Any:
            found = original(filter, queries, exclude, k, width, *best)
            self.tries.append((width, len(queries), int(found.proven.sum())))
            return found

        monkeypatch.setattr(Filter, "nearest", nearest)

    @property
    def settled(self) -> int:
        return sum(settled for _, _, settled in self.tries)


def assert_same(found: Neighbors, expected: Neighbors) -> None:
    np.testing.assert_array_equal(np.asarray(found.indices), np.asarray(expected.indices))
    np.testing.assert_array_equal(np.asarray(found.scores), np.asarray(expected.scores))


def check(queries: Array, gallery: Array, k: int, distance: Distance, **options: Any) -> None:
    """Compare with the search that has no room for the filter, in every kind of array."""
    without = {"exclude": options["exclude"]} if "exclude" in options else {}
    expected = search(queries, gallery, k, distance=distance, max_memory_bytes=SMALL, **without)
    for convert in CONVERTERS:
        rows = convert(gallery)
        own = rows if queries is gallery else convert(queries)
        assert_same(search(own, rows, k, distance=distance, **options), expected)
        ranked = search(own, rows, k, distance=distance, scored=False, **options)
        np.testing.assert_array_equal(np.asarray(ranked.indices), expected.indices)
