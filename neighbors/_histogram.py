"""The histogram of the scores of all pairs, by label, without a list of pairs."""

from typing import final

import numpy as np

from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._binned import binned
from milepost.neighbors._cells import Ints
from milepost.neighbors._grid import Grid, GridLookup
from milepost.neighbors._labelled_blocks import Limits, labelled_blocks
from milepost.neighbors._near import near_pairs
from milepost.neighbors._ranges import Ranges
from milepost.neighbors._score import Distance, as_pair_of_rows, check_distance

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
    labels = query_labels, gallery_labels
    tally = _Tally(layout.cells, queries, backend)
    cells_of = layout.lookup(queries, backend)
    windows = layout.windows(_WINDOWS) if isinstance(layout, Ranges) else []
    limits = Limits(first, exclude, max_memory_bytes)
    for block in labelled_blocks(queries, gallery, labels, distance, limits, backend):
        q, g, pairing = block.queries, block.gallery, block.pairing
        if isinstance(cells_of, GridLookup):
            cells = binned(q, g, cells_of, distance, backend)
            tally.add(cells, *pairing.of_all(cells, backend))
        else:
            i, j, scores = near_pairs(q, g, windows, distance, backend)
            tally.add(cells_of(scores), *pairing.of(i, j, backend))
    return tally.counts()


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
