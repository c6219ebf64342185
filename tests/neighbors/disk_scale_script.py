"""Search a gallery on disk in a process of its own; print the peak memory that the search added.

Arguments: gallery rows, queries, k, the budget in bytes, and the folder of the gallery.
"""

import resource
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from milepost.neighbors import DiskIndexer

DIMENSION, BLOCK, SAMPLED = 128, 50_000, 4


def blocks(rows: int) -> Iterator[Any]:
    for number, start in enumerate(range(0, rows, BLOCK)):
        shape = min(BLOCK, rows - start), DIMENSION
        yield np.random.default_rng(number).standard_normal(shape, dtype=np.float32)


def peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def nearest(query: Any, rows: int, k: int) -> Any:
    """The k nearest of one query, by brute force: a score is a float64 sum, rounded to float32."""
    distances = np.concatenate(
        [((block.astype(np.float64) - query) ** 2).sum(axis=1) for block in blocks(rows)]
    )
    return np.argsort(distances.astype(np.float32), kind="stable")[:k]


def main(rows: int, queries: int, k: int, budget: int, folder: str) -> None:
    query = np.random.default_rng(2**20).standard_normal((queries, DIMENSION), dtype=np.float32)
    warm = DiskIndexer(folder=folder, max_memory_bytes=budget)
    warm.add(query)
    warm.search(query[:1], 1)  # loads what a first search loads
    indexer = DiskIndexer(folder=folder, max_memory_bytes=budget)
    for block in blocks(rows):
        indexer.add(block)
    before = peak_bytes()
    found = indexer.search(query, k)
    print(peak_bytes() - before)
    for number in range(0, queries, queries // SAMPLED):
        expected = nearest(query[number].astype(np.float64), rows, k)
        np.testing.assert_array_equal(found.indices[number], expected)


if __name__ == "__main__":
    rows, queries, k, budget = map(int, sys.argv[1:5])
    main(rows, queries, k, budget, sys.argv[5])
