"""The indexes whose results are exact."""

from collections.abc import Callable
from importlib.util import find_spec

import pytest

from milepost.neighbors import DiskIndexer, ExactIndexer, FaissIndexer, Indexer

EXACT: dict[str, Callable[..., Indexer]] = {
    "faiss": FaissIndexer,
    "exact": ExactIndexer,
    "disk": DiskIndexer,
    "small blocks": lambda metric="l2": DiskIndexer(metric, max_memory_bytes=2_000),
}
if find_spec("torch"):
    EXACT["device"] = lambda metric="l2": ExactIndexer(metric, device="cpu")

every_exact = pytest.mark.parametrize("make", EXACT.values(), ids=EXACT.keys())
