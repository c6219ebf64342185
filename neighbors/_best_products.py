"""The largest products of queries with a gallery, by a threshold that a sample of it gives.

Keeping a list for each query costs more than the products where lists are long. Instead the first
rows of the gallery tell what a product must reach to be among the k largest; what reaches it, about
twice k, is collected from all tiles and sorted once. Products of rows with one another are computed
once for both. NumPy arrays; Q and G are the numbers of queries and of gallery rows.

A product of long rows is added up from those of their parts: it rounds less, so that fewer products
are too close to tell which is larger.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from milepost.neighbors import _numpy
from milepost.neighbors._blas import torch_in_place_of_openblas
from milepost.neighbors._blocks import spans
from milepost.neighbors._rank_keys import NOTHING, decode, rank_keys

Array = npt.NDArray[Any]

_SHORTEST = 16  # lists; faiss keeps shorter ones at less cost
_SMALLEST = 4  # a gallery has at least so many times k rows
_EDGE = 768  # of a tile, at most
_EDGES = 8  # in a gallery, at least
_LARGEST_SAMPLE = 4096
_MARGIN = 2.5  # standard deviations of a sample's count
_CROWDED = 3  # times as many products as expected: many are equal, or the sample is not fair
_PART = 128  # numbers of a part, about; with shorter ones adding up takes longer than it saves


class Best(NamedTuple):
    """The largest products of queries.

    Attributes:
        products: float32 (Q, k), descending.
        places: int64 (Q, k), where in the gallery they are.
        roundings: how many a product went through at most, one after the other.
    """

    products: Array
    places: Array
    roundings: int


def best_products(queries: Array, gallery: Array, k: int) -> Best:
    """Return the `k` largest products of each query, descending, and where in the gallery they are.

    Quick where the first rows of the gallery are a fair sample of it; right in any case.
    Memory: 5 bytes for each of 768 x 4096 products, and about 60 bytes a product collected.

    Args:
        queries: float32 (Q, d).
        gallery: float32 (G, d).
        k: at most G.
    """
    is_short = k < _SHORTEST and torch_in_place_of_openblas() is None
    if is_short or len(gallery) < _SMALLEST * k:
        return _listed(queries, gallery, k)
    parts = []
    for block in np.array_split(queries, math.ceil(len(queries) / _EDGE)):
        found = None
        for columns in _blocks(len(gallery)):
            products = _products(block, gallery[columns])
            found = found or _Collected(products, k, len(gallery))
            found.add(products, columns.start)
        parts.append(_best(found, block, gallery, k))
    values, places, roundings = zip(*parts, strict=True)
    return Best(np.concatenate(values), np.concatenate(places), max(roundings))


def best_products_within(rows: Array, k: int) -> Iterator[tuple[slice, Best]]:
    """Yield blocks of rows with what `best_products` returns for them, the gallery being all rows.

    Memory: 10 bytes a product collected, of all rows, too.
    """
    blocks = _blocks(len(rows))
    found: list[_Collected] = []
    for number, block in enumerate(blocks):
        for other in range(number, len(blocks)):
            products = _products(rows[blocks[other]], rows[block])
            if number == 0:
                found.append(_Collected(products, k, len(rows)))
            found[other].add(products, block.start)
            if other > number:
                found[number].add(products, blocks[other].start, transposed=True)
        yield block, _best(found[number], rows[block], rows, k)
        found[number].clear()


def _products(queries: Array, gallery: Array) -> Array:
    edges = _edges(queries.shape[1])
    found = _numpy.products(queries[:, : edges[1]], gallery[:, : edges[1]])
    with np.errstate(over="ignore", invalid="ignore"):
        for start, stop in itertools.pairwise(edges[1:]):
            found += _numpy.products(queries[:, start:stop], gallery[:, start:stop])
    return found


def _edges(dimension: int) -> list[int]:
    """Return where the parts of a row begin, and where the last one ends."""
    parts = max(1, round(dimension / _PART))
    return [dimension * part // parts for part in range(parts + 1)]


def _roundings(dimension: int) -> int:
    edges = _edges(dimension)
    longest = max(stop - start for start, stop in itertools.pairwise(edges))
    return longest + len(edges) - 2


def _blocks(total: int) -> list[slice]:
    """Return the sample, and the other rows in blocks."""
    sample = _sample_size(total)
    edge = min(_EDGE, math.ceil(total / _EDGES))
    return [
        slice(0, sample),
        *(slice(s.start + sample, s.stop + sample) for s in spans(total - sample, edge)),
    ]


def number_collected(k: int, total: int) -> int:
    """Return how many products of a query with `total` rows are collected for the `k` largest."""
    return _sample_rank(k, total) * total // _sample_size(total)


class _Collected:
    """The products of a block of queries that reach a threshold.

    Args:
        sample: the products with the first rows of the gallery, float32 (Q, S).
        k: how many are wanted.
        total: the number of gallery rows.
    """

    def __init__(self, sample: Array, k: int, total: int) -> None:
        rank = _sample_rank(k, total)
        self._least = np.partition(sample, -rank, axis=1)[:, -rank].copy()
        self._room = _CROWDED * len(sample) * number_collected(k, total)
        self._rows: list[Array] = []
        self._keys: list[Array] = []

    def add(self, products: Array, start: int, *, transposed: bool = False) -> None:
        """Collect from products with gallery rows, the first of which is at `start`."""
        least = self._least[None, :] if transposed else self._least[:, None]
        (flat,) = np.nonzero((products >= least).reshape(-1))
        self._room -= len(flat)
        if self._room < 0:
            self.clear()
            return
        values = products.reshape(-1).take(flat) + np.float32(0.0)  # no negative zero
        row, column = flat // products.shape[1], flat % products.shape[1]
        if transposed:
            row, column = column, row
        self._keys.append(rank_keys(values, column + start, _numpy))
        self._rows.append(row.astype(np.uint16))

    def clear(self) -> None:
        self._rows.clear()
        self._keys.clear()

    def keys(self) -> tuple[Array, Array] | None:
        """Return keys (Q, W) and the number of them for each query, or nothing if too many."""
        if self._room < 0:
            return None
        rows = np.concatenate(self._rows)
        counts = np.bincount(rows, minlength=len(self._least))
        keys = np.full((len(counts), counts.max()), NOTHING)
        order = np.argsort(rows, kind="stable")
        keys[np.arange(keys.shape[1]) < counts[:, None]] = np.concatenate(self._keys).take(order)
        return keys, counts


def _best(found: _Collected | None, queries: Array, gallery: Array, k: int) -> Best:
    """Return the `k` largest of what was collected; keep lists where that is too few."""
    collected = found.keys() if found else None
    if collected is None or collected[0].shape[1] < k:
        return _listed(queries, gallery, k)
    keys, counts = collected
    places, products = decode(_numpy.largest(keys, k), _numpy)
    roundings = _roundings(queries.shape[1])
    (short,) = np.nonzero(counts < k)
    if len(short):
        products[short], places[short], more = _listed(queries[short], gallery, k)
        roundings = max(roundings, more)
    return Best(products, places, roundings)


def _sample_size(total: int) -> int:
    return min(total, 1 << (total.bit_length() // 2 + 3), _LARGEST_SAMPLE)


def _sample_rank(k: int, total: int) -> int:
    """Return the rank in a sample that the k-th of all rows does but rarely exceed."""
    expected = k * _sample_size(total) / total
    return min(_sample_size(total), math.ceil(expected + _MARGIN * (math.sqrt(expected) + 1)))


def _listed(queries: Array, gallery: Array, k: int) -> Best:
    torch = torch_in_place_of_openblas()
    if torch is not None:
        found = torch.tiled_products(torch.rows32(queries), torch.rows32(gallery), k)
        return Best(torch.numpy(found[0]), torch.numpy(found[1]), queries.shape[1])
    import faiss  # only where it is used

    scores, indices = faiss.knn(queries, gallery, k, metric=faiss.METRIC_INNER_PRODUCT)
    return Best(scores, indices, queries.shape[1])
