"""All pairs of labelled rows, a block that fits the cache and the budget at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._blocks import block_shape, memory_budget, prepared_rows, spans
from milepost.neighbors._cells import Ints
from milepost.neighbors._score import Distance, prepare


class Limits(NamedTuple):
    """Which pairs count, and how much memory a block may take.

    Attributes:
        first: int64 (Q,), a query is paired with gallery rows from this position on; None: all.
        exclude: int64 (Q,), the gallery position that a query leaves out, or -1; None: none.
        max_memory_bytes: the budget; None: a quarter of what is available.
    """

    first: Ints | None
    exclude: Ints | None
    max_memory_bytes: int | None


class Pairing(NamedTuple):
    """Which pairs of a block are genuine, and which are left out.

    Attributes:
        own: the labels of its queries.
        others: the labels of its gallery rows.
        first: int64 (q,), a query is paired with gallery rows from this position on.
        exclude: int64 (q,), the gallery position that a query leaves out, or -1.
        columns: which gallery rows the block holds.
    """

    own: Array
    others: Array
    first: Ints
    exclude: Ints
    columns: slice

    def of_all(self, like: Array, backend: Backend) -> tuple[Array, list[Array]]:
        """Return which of all pairs are genuine, and indices of those left out."""
        start, stop = self.columns.start, self.columns.stop
        (rows,) = np.nonzero((self.exclude >= start) & (self.exclude < stop))
        excluded = rows, self.exclude[rows] - start
        left_out: list[Array] = [tuple(backend.array(axis, like=like) for axis in excluded)]
        if self.first.max() > start:
            below = np.arange(start, stop)[None, :] < self.first[:, None]
            left_out.append(backend.array(below, like=like))
        return self.own[:, None] == self.others[None, :], left_out

    def of(self, i: Array, j: Array, backend: Backend) -> tuple[Array, list[Array]]:
        """Return which of some pairs are genuine, and which are left out."""
        first, exclude = (
            backend.array(x - self.columns.start, like=i) for x in (self.first, self.exclude)
        )
        return self.own[i] == self.others[j], [(j < first[i]) | (j == exclude[i])]


class LabelledBlock(NamedTuple):
    """Some queries and some gallery rows, prepared.

    Attributes:
        rows: which queries it holds.
        columns: which gallery rows.
        queries: float32 (q, d).
        gallery: float32 (g, d).
        pairing: which of its pairs count, and which of these are genuine.
    """

    rows: slice
    columns: slice
    queries: Array
    gallery: Array
    pairing: Pairing


def labelled_blocks(
    queries: Array,
    gallery: Array,
    labels: tuple[Ints, Ints],
    distance: Distance,
    limits: Limits,
    backend: Backend,
) -> Iterator[LabelledBlock]:
    """Yield blocks that hold all pairs that count; rows are prepared once if the budget has room.

    Args:
        queries: float32 (Q, d).
        gallery: float32 (G, d).
        labels: int64 (Q,) and (G,).
        distance: what rows are prepared for.
        limits: which pairs count.
        backend: what owns the arrays.
    """
    first = np.zeros(len(queries), np.int64) if limits.first is None else limits.first
    exclude = np.full(len(queries), -1) if limits.exclude is None else limits.exclude
    own, others = (backend.array(x, like=queries) for x in _short(*labels))
    shape = block_shape(queries, gallery, 0, limits.max_memory_bytes, backend)
    numbers = (len(queries) + len(gallery)) * queries.shape[1]
    ready = 16 * numbers <= memory_budget(limits.max_memory_bytes, gallery)
    if ready:
        is_same, queries = gallery is queries, prepared_rows(queries, distance, backend)
        gallery = queries if is_same else prepared_rows(gallery, distance, backend)
    for rows in spans(len(queries), shape.queries):
        q = queries[rows] if ready else prepare(queries[rows], distance, backend)
        start = int(first[rows].min())
        for part in spans(len(gallery) - start, shape.gallery):
            columns = slice(start + part.start, start + part.stop)
            g = gallery[columns] if ready else prepare(gallery[columns], distance, backend)
            pairing = Pairing(own[rows], others[columns], first[rows], exclude[rows], columns)
            yield LabelledBlock(rows, columns, q, g, pairing)


def _short(own: Ints, others: Ints) -> list[npt.NDArray[np.int32]]:
    """Return labels as int32, which compare more quickly."""
    codes = np.unique(np.concatenate([own, others]), return_inverse=True)[1].astype(np.int32)
    return np.split(codes, [len(own)])
