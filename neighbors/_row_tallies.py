"""What the pairs of each query amount to, by their score and their kind."""

from typing import final

import numpy as np
import numpy.typing as npt

from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._binned import binned
from milepost.neighbors._cells import Ints, keys_of
from milepost.neighbors._grid import Grid, GridLookup
from milepost.neighbors._labelled_blocks import LabelledBlock, Limits, labelled_blocks
from milepost.neighbors._score import (
    Distance,
    as_pair_of_rows,
    check_distance,
    listed_scores,
    score_block,
)

_MANY = 16  # one of so many pairs in a cell that an edge cuts; then scoring all is quicker


def row_tallies(
    queries: Array,
    gallery: Array,
    labels: tuple[Ints, Ints],
    edges: npt.NDArray[np.float32],
    worth: Ints,
    *,
    grid: Grid,
    distance: Distance = "cosine",
    limits: Limits,
) -> Ints:
    """Return sums over the pairs of each query, int64 (Q, 2, M): impostor and genuine pairs.

    A pair counts for what a score is worth; where its score is is told by E edges: bin b holds the
    scores that b of the edges do not exceed. Sums are exact and, as those of `pair_histogram`, do
    not depend on blocks, threads or devices; those of parts of the gallery add up.

    Memory: blocks under the budget, and the sums.

    Args:
        queries: shape (Q, d), converted to float32.
        gallery: shape (G, d), converted to float32.
        labels: int64 (Q,) and (G,).
        edges: ascending, different.
        worth: int64 (2, E + 1, M), of an impostor pair and a genuine pair in each bin.
        grid: over the scores, a cell a bin; only pairs in a cell that an edge cuts are scored.
        distance: as for `search`.
        limits: which pairs count.

    Example:
        >>> points, labels = np.array([[0.0], [1.0], [3.0]]), np.array([0, 0, 1])
        >>> row_tallies(
        ...     points,
        ...     points,
        ...     (labels, labels),
        ...     np.array([-4.0], np.float32),
        ...     np.array([[[1, 0], [1, 1]], [[1, 0], [1, 1]]]),  # all pairs, those in bin 1
        ...     grid=Grid.over("l2", 3.0),
        ...     distance="l2",
        ...     limits=Limits(None, np.arange(3), None),
        ... ).tolist()
        [[[1, 0], [1, 1]], [[1, 1], [1, 1]], [[2, 1], [0, 0]]]
    """
    check_distance(distance)
    queries, gallery, backend = as_pair_of_rows(queries, gallery)
    bins_of = _Bins(edges, grid, queries, distance, backend)
    kinds = len(edges) + 1
    result = np.zeros((len(queries), 2, worth.shape[-1]), np.int64)
    for block in labelled_blocks(queries, gallery, labels, distance, limits, backend):
        bins = bins_of(block)
        genuine, left_out = block.pairing.of_all(bins, backend)
        bins += genuine * kinds
        for index in left_out:
            bins[index] = 2 * kinds
        counts = _counts_by_row(bins, 2 * kinds + 1, backend)[:, :-1].reshape(-1, 2, kinds)
        result[block.rows] += np.einsum("qkb,kbm->qkm", counts, worth)
    return result


def _counts_by_row(bins: Array, number: int, backend: Backend) -> Ints:
    """Return how often each of `number` bins occurs in each row of bins, which are overwritten."""
    bins += backend.array(np.arange(len(bins))[:, None] * number, like=bins)
    counts = backend.array(np.zeros(len(bins) * number, np.int64), like=bins)
    backend.tally(counts, bins)
    return backend.numpy(counts).reshape(-1, number)


@final
class _Bins:
    """Gives the bin of each pair of a block, int64 (q, g)."""

    def __init__(
        self,
        edges: npt.NDArray[np.float32],
        grid: Grid,
        like: Array,
        distance: Distance,
        backend: Backend,
    ) -> None:
        lowest, stops = grid.ranges(np.arange(grid.cells))
        keys = keys_of(edges) if len(edges) else np.zeros(0, np.int64)
        first, last = (np.searchsorted(keys, x, side="right") for x in (lowest, stops - 1))
        self._cut = len(edges) + 1
        bins = np.where(first == last, first, self._cut)
        ends = np.concatenate([[-np.inf], edges]).astype(np.float32)
        self._bins, self._ends = (backend.array(x, like=like) for x in (bins, ends))
        self._cells_of: GridLookup = grid.lookup(like, backend)
        self._distance, self._backend = distance, backend

    def __call__(self, block: LabelledBlock) -> Array:
        backend, pair = self._backend, (block.queries, block.gallery)
        bins = backend.take(self._bins, binned(*pair, self._cells_of, self._distance, backend))
        (at,) = backend.positions((bins == self._cut).reshape(-1))
        if _MANY * len(at) > len(block.queries) * len(block.gallery):
            scores = score_block(*pair, self._distance, backend)
            return backend.last_at_most(self._ends, scores)
        if len(at):
            i, j = at // len(block.gallery), at % len(block.gallery)
            scores = listed_scores(*pair, i, j, self._distance, backend)
            bins.reshape(-1)[at] = backend.last_at_most(self._ends, scores)
        return bins
