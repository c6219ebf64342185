"""Exact k-NN in a gallery on disk, within a memory budget; the gallery is written before."""

import numpy as np

from benchmarks.cases.case import Case, Run
from benchmarks.data import Array

BLOCK = 50_000


def milepost(rows: Array, labels: Array, *, gallery: int, k: int, budget_mb: int) -> Run:
    from milepost.neighbors import DiskIndexer

    indexer = DiskIndexer(max_memory_bytes=budget_mb * 2**20)
    for number, start in enumerate(range(0, gallery, BLOCK)):
        shape = min(BLOCK, gallery - start), rows.shape[1]
        indexer.add(np.random.default_rng(number).standard_normal(shape, dtype=np.float32))
    return lambda: indexer.search(rows, k)


CASE = Case({"milepost": milepost})
