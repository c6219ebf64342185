"""Histograms of pair scores over exact ranges of float32, without a list of pairs.

Scores are float32, so there are at most 2^32 of them, in the order of 32-bit integers (their
keys). The first 18 bits of a key (sign, exponent and 9 bits of the fraction, 512 to an octave)
name its bin; `Bins` cuts each bin into 2^0 ... 2^14 cells of equal width, or leaves it out. A cell
of a bin with 2^14 cells holds a single score: refining the bins that matter makes a result exact.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from milepost.neighbors import _numpy
from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._blocks import (
    Block,
    block_shape,
    gallery_blocks,
    memory_budget,
    prepared_rows,
    spans,
)
from milepost.neighbors._rank_keys import from_ordered, ordered
from milepost.neighbors._score import Distance, as_pair_of_rows, check_distance

NUMBER_OF_BINS = 1 << 18
BIN_BITS = 14
_OFFSET = NUMBER_OF_BINS // 2  # keys are signed

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bins:
    """How finely each bin is cut.

    Attributes:
        bits: int64 (2^18,), a bin has 2^bits cells; -1: its pairs are not counted.
    """

    bits: Ints

    @classmethod
    def coarse(cls) -> "Bins":
        """Return one cell a bin, over the whole of float32."""
        return cls(np.zeros(NUMBER_OF_BINS, np.int64))

    @cached_property
    def sizes(self) -> Ints:
        """The number of cells of each bin."""
        sizes: Ints = np.where(self.bits < 0, 0, 1 << self.bits.clip(min=0))
        return sizes

    @cached_property
    def starts(self) -> Ints:
        """The number of the first cell of each bin; that of no cell for a bin left out."""
        return np.where(self.bits < 0, self.cells, np.cumsum(self.sizes) - self.sizes)

    @property
    def cells(self) -> int:
        """The number of cells."""
        return int(self.sizes.sum())

    @cached_property
    def shifts(self) -> Ints:
        """Log2 of the width of a bin's cells, in keys."""
        return np.where(self.bits < 0, BIN_BITS, BIN_BITS - self.bits)


@dataclass(frozen=True)
class Cells:
    """A histogram: the cells that hold pairs, of the highest scores first.

    Attributes:
        lowest: int64 (C,), the smallest key of each cell.
        shifts: int64 (C,), log2 of its width; 0: it holds a single score.
        impostors: int64 (C,), pairs of different labels in it.
        genuine: int64 (C,), pairs of equal labels in it.
    """

    lowest: Ints
    shifts: Ints
    impostors: Ints
    genuine: Ints

    @property
    def bins(self) -> Ints:
        """The bin of each cell."""
        return (self.lowest >> BIN_BITS) + _OFFSET

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """The smallest score that each cell can hold."""
        scores = from_ordered(self.lowest, _numpy)
        return np.asarray(scores, np.float64)

    def refined(self, bins: Bins, counts: Ints) -> "Cells":
        """Return the histogram with the bins that were counted again in their finer cells."""
        kept = bins.bits[self.bins] < 0
        new = cells_of(bins, counts)
        columns = [
            np.concatenate([old[kept], fine])
            for old, fine in zip(self._columns(), new._columns(), strict=True)
        ]
        order = np.argsort(-columns[0])
        return Cells(*(column[order] for column in columns))

    def _columns(self) -> tuple[Ints, Ints, Ints, Ints]:
        return self.lowest, self.shifts, self.impostors, self.genuine


def cells_of(bins: Bins, counts: Ints) -> Cells:
    """Return the cells that hold pairs.

    Args:
        bins: how the bins are cut.
        counts: int64 (2, cells), as `pair_histogram` gives them.
    """
    (cell,) = np.nonzero(counts.any(axis=0))
    cell = cell[::-1]
    bin_of = np.repeat(np.arange(NUMBER_OF_BINS), bins.sizes)[cell]
    shifts = bins.shifts[bin_of]
    lowest = ((bin_of - _OFFSET) << BIN_BITS) + ((cell - bins.starts[bin_of]) << shifts)
    return Cells(lowest, shifts, counts[0, cell], counts[1, cell])


def pair_histogram(
    queries: Array,
    gallery: Array,
    query_labels: Ints,
    gallery_labels: Ints,
    bins: Bins,
    *,
    distance: Distance = "cosine",
    first: Ints | None = None,
    exclude: Ints | None = None,
    max_memory_bytes: int | None = None,
) -> Ints:
    """Return how many pairs have their score in each cell, int64 (2, cells).

    Row 0 counts impostor pairs, row 1 genuine pairs (of equal labels). Counts do not depend on
    blocks, threads or devices, and those of parts of the gallery, or of the queries, add up.

    Memory: blocks under `max_memory_bytes`, and 32 bytes a cell; it does not grow with the pairs.

    Args:
        queries: shape (Q, d), converted to float32.
        gallery: shape (G, d), converted to float32.
        query_labels: int64 (Q,).
        gallery_labels: int64 (G,).
        bins: the cells.
        distance: as for `search`.
        first: int64 (Q,), a query is paired with gallery rows from this position on; None: all.
        exclude: int64 (Q,), the gallery position that a query leaves out, or -1; None: none.
        max_memory_bytes: as for `search`.

    Example:
        >>> points, labels = np.array([[0.0], [1.0], [3.0]]), np.array([0, 0, 1])
        >>> counts = pair_histogram(
        ...     points, points, labels, labels, Bins.coarse(), first=np.array([1, 2, 3])
        ... )
        >>> counts.sum(axis=1)
        array([2, 1])
    """
    check_distance(distance)
    queries, gallery, backend = as_pair_of_rows(queries, gallery)
    first = np.zeros(len(queries), np.int64) if first is None else first
    exclude = np.full(len(queries), -1) if exclude is None else exclude
    own, others = (backend.array(x, like=queries) for x in (query_labels, gallery_labels))
    cell_of = CellLookup(bins, queries, backend)
    pairs, genuine = (_Tally(bins.cells + 1, queries, backend) for _ in range(2))
    shape = block_shape(queries, gallery, 0, max_memory_bytes, backend)
    numbers = (len(queries) + len(gallery)) * queries.shape[1]
    ready = 16 * numbers <= memory_budget(max_memory_bytes, gallery)
    if ready:
        queries, gallery = (prepared_rows(x, distance, backend) for x in (queries, gallery))
    for rows in spans(len(queries), shape.queries):
        start = int(first[rows].min())
        arguments = queries[rows], gallery, distance, shape.gallery, backend, start
        for block in gallery_blocks(*arguments, prepared=ready):
            cells = cell_of(block.scores)
            _leave_out(cells, block, first[rows], exclude[rows], bins.cells, backend)
            same = own[rows, None] == others[None, block.start : block.stop]
            pairs.add(cells)
            genuine.add(cells[same])
    of_both, of_genuine = pairs.counts()[:-1], genuine.counts()[:-1]
    return np.stack([of_both - of_genuine, of_genuine])


class _Tally:
    """Counts cells; gathers as many as there are counters first, which is quicker."""

    def __init__(self, size: int, like: Array, backend: Backend) -> None:
        self._backend = backend
        self._counts = backend.array(np.zeros(size, np.int64), like=like)
        self._waiting: list[Array] = []
        self._number = 0

    def add(self, cells: Array) -> None:
        self._waiting.append(cells.reshape(-1))
        self._number += len(self._waiting[-1])
        if self._number >= len(self._counts):
            self._flush()

    def counts(self) -> Ints:
        self._flush()
        counts: Ints = self._backend.numpy(self._counts)
        return counts

    def _flush(self) -> None:
        if self._waiting:
            self._backend.tally(self._counts, self._backend.concat(self._waiting, axis=0))
        self._waiting, self._number = [], 0


class CellLookup:
    """Gives the cell of each score; pairs that are not counted go into one more cell."""

    def __init__(self, bins: Bins, like: Array, backend: Backend) -> None:
        self._backend = backend
        self._is_coarse = bool((bins.bits == 0).all())
        self._starts = backend.array(bins.starts, like=like)
        self._shifts = backend.array(bins.shifts, like=like)

    def __call__(self, scores: Array) -> Array:
        keys = ordered(scores, self._backend)
        if self._is_coarse:
            keys >>= BIN_BITS
            keys += _OFFSET
            return keys
        keys = self._backend.int64(keys)
        bin_of = (keys >> BIN_BITS) + _OFFSET
        return self._starts[bin_of] + ((keys & ((1 << BIN_BITS) - 1)) >> self._shifts[bin_of])


def _leave_out(
    cells: Array, block: Block, first: Ints, exclude: Ints, nowhere: int, backend: Backend
) -> None:
    """Move the pairs of a block that are not wanted into the cell `nowhere`."""
    if first.max() > block.start:
        columns = np.arange(block.start, block.stop)
        cells[backend.array(columns[None, :] < first[:, None], like=cells)] = nowhere
    (rows,) = np.nonzero((exclude >= block.start) & (exclude < block.stop))
    positions = rows, exclude[rows] - block.start
    cells[tuple(backend.array(axis, like=cells) for axis in positions)] = nowhere
