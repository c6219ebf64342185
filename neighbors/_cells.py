"""A histogram of scores: cells, each a range of float32 numbers, and the pairs in each.

Scores are float32, so there are at most 2^32 of them, in the order of 32-bit integers: their keys.
A cell holds the pairs whose key is in a range; one of width 1 holds a single score. A layout says
which cells are counted. C is a number of cells.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from milepost.neighbors import _numpy
from milepost.neighbors._rank_keys import from_ordered, ordered

Ints = npt.NDArray[np.int64]

LEAST_KEY = -0x7F800001  # that of minus infinity
END_OF_KEYS = 0x7F800001  # after that of infinity


class Layout(Protocol):
    """Which cells are counted: disjoint ranges of keys, each cut into some."""

    @property
    def cells(self) -> int:
        """The number of cells."""

    @property
    def lowest(self) -> Ints:
        """The smallest key of each range."""

    def ranges(self, cells: Ints) -> tuple[Ints, Ints]:
        """Return the smallest key of some cells, ascending, and the one after their largest."""


@dataclass(frozen=True)
class Cells:
    """A histogram: the cells that hold pairs, of the highest scores first.

    Attributes:
        lowest: int64 (C,), the smallest key of each cell.
        widths: int64 (C,), how many keys it has; 1: it holds a single score.
        impostors: int64 (C,), pairs of different labels in it.
        genuine: int64 (C,), pairs of equal labels in it.
    """

    lowest: Ints
    widths: Ints
    impostors: Ints
    genuine: Ints

    @cached_property
    def scores(self) -> npt.NDArray[np.float64]:
        """The smallest score that each cell can hold."""
        return np.asarray(from_ordered(self.lowest, _numpy), np.float64)

    @property
    def highest(self) -> npt.NDArray[np.float64]:
        """The largest score that each cell can hold."""
        return np.asarray(from_ordered(self.lowest + self.widths - 1, _numpy), np.float64)

    @cached_property
    def false(self) -> Ints:
        """The impostor pairs in each cell and in those before it."""
        return np.cumsum(self.impostors)

    @cached_property
    def true(self) -> Ints:
        """The genuine pairs in each cell and in those before it."""
        return np.cumsum(self.genuine)

    @cached_property
    def kinds(self) -> tuple[int, int]:
        """How many impostor and genuine pairs there are."""
        return int(self.impostors.sum()), int(self.genuine.sum())

    def refined(self, layout: Layout, counts: Ints) -> "Cells":
        """Return the histogram with the cells that were counted again cut as the layout says."""
        kept = ~np.isin(self.lowest, layout.lowest)
        new = cells_of(layout, counts)
        columns = [
            np.concatenate([old[kept], fine])
            for old, fine in zip(self._columns(), new._columns(), strict=True)
        ]
        order = np.argsort(-columns[0])
        return Cells(*(column[order] for column in columns))

    def _columns(self) -> tuple[Ints, Ints, Ints, Ints]:
        return self.lowest, self.widths, self.impostors, self.genuine


def cells_of(layout: Layout, counts: Ints) -> Cells:
    """Return the cells that hold pairs.

    Args:
        layout: which cells were counted.
        counts: int64 (2, C), as `pair_histogram` gives them.
    """
    (cells,) = np.nonzero(counts[0] | counts[1])
    lowest, stops = layout.ranges(cells)
    columns = lowest, stops - lowest, counts[0, cells], counts[1, cells]
    return Cells(*(column[::-1] for column in columns))


def cells_of_list(scores: npt.ArrayLike, genuine: npt.NDArray[np.bool_]) -> Cells:
    """Return the cells of a list of float32 scores: each holds one of them, and is exact."""
    keys, at = np.unique(keys_of(scores), return_inverse=True)
    kinds = (np.bincount(at[genuine == kind], minlength=len(keys)) for kind in (False, True))
    return Cells(*(column[::-1] for column in (keys, np.ones_like(keys), *kinds)))


def keys_of(scores: npt.ArrayLike) -> Ints:
    """Return the keys of float32 scores."""
    keys: Ints = ordered(np.atleast_1d(np.asarray(scores, np.float32) + np.float32(0.0)), _numpy)
    return keys.astype(np.int64)
