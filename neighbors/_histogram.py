"""The histogram of the scores of all pairs, by label, without a list of pairs."""

from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt

from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._binned import binned
from milepost.neighbors._blocks import block_shape, memory_budget, prepared_rows, spans
from milepost.neighbors._cells import Ints
from milepost.neighbors._grid import Grid, GridLookup
from milepost.neighbors._near import near_pairs
from milepost.neighbors._ranges import Ranges
from milepost.neighbors._score import (
    Distance,
    as_pair_of_rows,
    check_distance,
    prepare,
)

_WINDOWS = 8  # that a float32 product is compared with


def pair_histogram(
    queries: Array,
    gallery: Array,
    query_labels: Ints,
    gallery_labels: Ints,
    layout: Grid | Ranges,
    *,
    distance: Distance = "cosine",
    first: Ints | None = None,
    exclude: Ints | None = None,
    max_memory_bytes: int | None = None,
) -> Ints:
    """Return how many pairs have their score in each cell, int64 (2, C).

    Row 0 counts impostor pairs, row 1 genuine pairs (of equal labels). Counts do not depend on
    blocks, threads or devices, and those of parts of the gallery, or of the queries, add up.
    Where the layout is `Ranges`, few pairs need more than a float32 product.

    Memory: blocks under `max_memory_bytes`, and 48 bytes a cell; it does not grow with the pairs.

    Args:
        queries: shape (Q, d), converted to float32.
        gallery: shape (G, d), converted to float32.
        query_labels: int64 (Q,).
        gallery_labels: int64 (G,).
        layout: the cells.
        distance: as for `search`.
        first: int64 (Q,), a query is paired with gallery rows from this position on; None: all.
        exclude: int64 (Q,), the gallery position that a query leaves out, or -1; None: none.
        max_memory_bytes: as for `search`.

    Example:
        >>> points, labels = np.array([[0.0], [1.0], [3.0]]), np.array([0, 0, 1])
        >>> counts = pair_histogram(
        ...     points, points, labels, labels, Grid.over("cosine"), first=np.array([1, 2, 3])
        ... )
        >>> counts.sum(axis=1)
        array([2, 1])
    """
    check_distance(distance)
    queries, gallery, backend = as_pair_of_rows(queries, gallery)
    first = np.zeros(len(queries), np.int64) if first is None else first
    exclude = np.full(len(queries), -1) if exclude is None else exclude
    own, others = (backend.array(x, like=queries) for x in _short(query_labels, gallery_labels))
    tally = _Tally(layout.cells, queries, backend)
    cells_of = layout.lookup(queries, backend)
    windows = layout.windows(_WINDOWS) if isinstance(layout, Ranges) else []
    shape = block_shape(queries, gallery, 0, max_memory_bytes, backend)
    numbers = (len(queries) + len(gallery)) * queries.shape[1]
    ready = 16 * numbers <= memory_budget(max_memory_bytes, gallery)
    if ready:
        is_same, queries = gallery is queries, prepared_rows(queries, distance, backend)
        gallery = queries if is_same else prepared_rows(gallery, distance, backend)
    for rows in spans(len(queries), shape.queries):
        q = queries[rows] if ready else prepare(queries[rows], distance, backend)
        start = int(first[rows].min())
        for part in spans(len(gallery) - start, shape.gallery):
            columns = slice(start + part.start, start + part.stop)
            g = gallery[columns] if ready else prepare(gallery[columns], distance, backend)
            pairing = _Pairing(own[rows], others[columns], first[rows], exclude[rows], columns)
            if isinstance(cells_of, GridLookup):
                cells = binned(q, g, cells_of, distance, backend)
                tally.add(cells, *pairing.of_all(cells, backend))
            else:
                i, j, scores = near_pairs(q, g, windows, distance, backend)
                tally.add(cells_of(scores), *pairing.of(i, j, backend))
    return tally.counts()


def _short(own: Ints, others: Ints) -> list[npt.NDArray[np.int32]]:
    """Return labels as int32, which compare more quickly."""
    codes = np.unique(np.concatenate([own, others]), return_inverse=True)[1].astype(np.int32)
    return np.split(codes, [len(own)])


class _Pairing(NamedTuple):
    """Which pairs of a block are genuine, and which are left out.

    Attributes:
        own: the labels of its queries.
        others: the labels of its gallery rows.
        first: as for `pair_histogram`.
        exclude: as for `pair_histogram`.
        columns: which gallery rows it holds.
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


@final
class _Tally:
    """Counts all pairs and the genuine ones in cells; pairs left out go into one more cell."""

    def __init__(self, cells: int, like: Array, backend: Backend) -> None:
        self._backend, self._nowhere = backend, cells
        none = np.zeros(cells + 1, np.int64)
        self._pairs, self._genuine = (backend.array(x, like=like) for x in (none, none.copy()))

    def add(self, cells: Array, genuine: Array, left_out: list[Array]) -> None:
        """Count pairs.

        Args:
            cells: int64, of any shape, overwritten.
            genuine: bool, of that shape.
            left_out: indices of pairs that do not count.
        """
        for index in left_out:
            cells[index] = self._nowhere
        self._backend.tally(self._pairs, cells)
        self._backend.tally(self._genuine, cells[genuine])

    def counts(self) -> Ints:
        """Return int64 (2, C), of impostor and genuine pairs."""
        self._pairs -= self._genuine
        return np.stack([self._backend.numpy(x)[:-1] for x in (self._pairs, self._genuine)])
