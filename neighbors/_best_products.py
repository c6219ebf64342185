"""The largest products of queries with a gallery, by a threshold that a sample of it gives.

Keeping a list for each query costs more than the products where lists are long. Instead the first
tile of the gallery tells what a product must reach to be among the k largest; what reaches it, about
twice k, is collected from all tiles and sorted once. NumPy arrays; Q and G are the numbers of
queries and of gallery rows.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from milepost.neighbors import _numpy
from milepost.neighbors._rank_keys import NOTHING, Neighbors, decode, rank_keys

Array = npt.NDArray[Any]

_SHORTEST = 16  # lists; faiss keeps shorter ones at less cost
_SMALLEST = 32  # a gallery has at least so many times k rows
_QUERIES = 1024  # in a tile
_MARGIN = 2.0  # standard deviations of a sample's count
_CROWDED = 3  # times as many products as expected: many are equal, or the sample is not fair


class _Reaching(NamedTuple):
    """Products that reach the threshold, in order of queries: their query, and their key."""

    rows: Array
    keys: Array


def best_products(queries: Array, gallery: Array, k: int) -> Neighbors:
    """Return the `k` largest products of each query, descending, and where in the gallery they are.

    Quick where the first rows of the gallery are a fair sample of it; right in any case.
    Memory: 4 MiB or so of products, and about 100 bytes a product kept.

    Args:
        queries: float32 (Q, d).
        gallery: float32 (G, d).
        k: at most G.
    """
    if k < _SHORTEST or len(gallery) < _SMALLEST * k:
        return _kept_by_faiss(queries, gallery, k)
    blocks = np.array_split(queries, math.ceil(len(queries) / _QUERIES))
    parts = [_by_threshold(block, gallery, k) for block in blocks]
    return Neighbors(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _by_threshold(queries: Array, gallery: Array, k: int) -> Neighbors:
    found = _reaching(queries, gallery, k)
    if found is None:
        return _kept_by_faiss(queries, gallery, k)
    counts = np.bincount(found.rows, minlength=len(queries))
    keys = np.full((len(queries), max(k, counts.max())), NOTHING)
    keys[np.arange(keys.shape[1]) < counts[:, None]] = found.keys
    best = decode(_numpy.largest(keys, k), _numpy)
    (short,) = np.nonzero(counts < k)
    if len(short):
        again = _kept_by_faiss(queries[short], gallery, k)
        best.indices[short], best.scores[short] = again
    return best


def _reaching(queries: Array, gallery: Array, k: int) -> _Reaching | None:
    """Return the products among which the `k` largest are but rarely not, None if too many."""
    width = min(len(gallery), 1 << (len(gallery).bit_length() // 2 + 3), 1 << 12)
    in_sample = k * width / len(gallery)
    rank = min(width, math.ceil(in_sample + _MARGIN * math.sqrt(in_sample) + _MARGIN))
    room = _CROWDED * rank * len(queries) * len(gallery) // width
    least = np.empty(0, np.float32)
    rows, keys = [], []
    for start in range(0, len(gallery), width):
        products = _numpy.products(queries, gallery[start : start + width])
        if not start:
            least = np.partition(products, -rank, axis=1)[:, -rank, None]
        (flat,) = np.nonzero((products >= least).reshape(-1))
        room -= len(flat)
        if room < 0:
            return None
        row = flat // products.shape[1]
        values = products.reshape(-1).take(flat) + np.float32(0.0)  # no negative zero
        keys.append(rank_keys(values, flat - row * products.shape[1] + start, _numpy))
        rows.append(row.astype(np.uint16))
    joined = np.concatenate(rows)
    order = np.argsort(joined, kind="stable")
    return _Reaching(joined, np.concatenate(keys).take(order))


def _kept_by_faiss(queries: Array, gallery: Array, k: int) -> Neighbors:
    import faiss  # only where it is used

    scores, indices = faiss.knn(queries, gallery, k, metric=faiss.METRIC_INNER_PRODUCT)
    return Neighbors(indices, scores)
