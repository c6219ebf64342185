"""The histogram of the scores of all pairs, by label, without a list of pairs."""

from typing import NamedTuple, final

import numpy as np

from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._blocks import block_shape, memory_budget, prepared_rows, spans
from milepost.neighbors._cells import Ints, Layout
from milepost.neighbors._grid import Grid
from milepost.neighbors._near import near_pairs
from milepost.neighbors._ranges import Ranges
from milepost.neighbors._score import (
    Distance,
    as_pair_of_rows,
    check_distance,
    prepare,
    score_block,
)

_WINDOWS = 8  # that a float32 product is compared with
_WAITING = 1 << 20  # cells that are gathered before they are counted, which is quicker


def pair_histogram(
    queries: Array,
    gallery: Array,
    query_labels: Ints,
    gallery_labels: Ints,
    layout: Layout,
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
    own, others = (backend.array(x, like=queries) for x in (query_labels, gallery_labels))
    tally = _Tally(layout, queries, backend)
    windows = layout.windows(_WINDOWS) if isinstance(layout, Ranges) else []
    shape = block_shape(queries, gallery, 0, max_memory_bytes, backend)
    numbers = (len(queries) + len(gallery)) * queries.shape[1]
    ready = 16 * numbers <= memory_budget(max_memory_bytes, gallery)
    if ready:
        queries, gallery = (prepared_rows(x, distance, backend) for x in (queries, gallery))
    for rows in spans(len(queries), shape.queries):
        q = queries[rows] if ready else prepare(queries[rows], distance, backend)
        start = int(first[rows].min())
        for columns in spans(len(gallery), shape.gallery):
            if columns.stop <= start:
                continue
            g = gallery[columns] if ready else prepare(gallery[columns], distance, backend)
            pairing = _Pairing(own[rows], others[columns], first[rows], exclude[rows], columns)
            if windows:
                i, j, scores = near_pairs(q, g, windows, distance, backend)
                tally.add(scores, *pairing.of(i, j, backend))
            else:
                scores = score_block(q, g, distance, backend)
                tally.add(scores, *pairing.of_all(scores, backend))
    return tally.counts()


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
        left_out = [(rows, self.exclude[rows] - start)]
        if self.first.max() > start:
            left_out.append(np.nonzero(np.arange(start, stop)[None, :] < self.first[:, None]))
        arrays = [tuple(backend.array(axis, like=like) for axis in index) for index in left_out]
        return self.own[:, None] == self.others[None, :], arrays

    def of(self, i: Array, j: Array, backend: Backend) -> tuple[Array, list[Array]]:
        """Return which of some pairs are genuine, and which are left out."""
        first, exclude = (
            backend.array(x - self.columns.start, like=i) for x in (self.first, self.exclude)
        )
        return self.own[i] == self.others[j], [(j < first[i]) | (j == exclude[i])]


@final
class _Tally:
    """Counts impostor and genuine pairs in cells; pairs left out go into one more cell.

    Cells are gathered before they are counted.
    """

    def __init__(self, layout: Layout, like: Array, backend: Backend) -> None:
        self._backend, self._nowhere = backend, layout.cells
        self._cell_of = layout.lookup(like, backend)
        self._counts = backend.array(np.zeros(2 * (layout.cells + 1), np.int64), like=like)
        self._waiting = backend.array(np.empty(_WAITING, np.int64), like=like)
        self._number = 0

    def add(self, scores: Array, genuine: Array, left_out: list[Array]) -> None:
        """Count pairs.

        Args:
            scores: float32, of any shape.
            genuine: bool, of that shape.
            left_out: indices of pairs that do not count.
        """
        cells = self._cell_of(scores)
        cells[genuine] += self._nowhere + 1
        for index in left_out:
            cells[index] = self._nowhere
        cells = cells.reshape(-1)
        if self._number + len(cells) > len(self._waiting):
            self._flush()
        if len(cells) > len(self._waiting):
            self._backend.tally(self._counts, cells)
        else:
            self._waiting[self._number : self._number + len(cells)] = cells
            self._number += len(cells)

    def counts(self) -> Ints:
        """Return int64 (2, C), of impostor and genuine pairs."""
        self._flush()
        counts: Ints = self._backend.numpy(self._counts)
        return counts.reshape(2, -1)[:, :-1]

    def _flush(self) -> None:
        self._backend.tally(self._counts, self._waiting[: self._number])
        self._number = 0
