"""A grid of scores: cells of equal width over all the scores that there can be.

A bin is 2^-18 of the range of scores or, where the range is not a power of two, of the next one;
`Grid` cuts each into 2^0 ... 2^23 cells of equal width, or leaves it out. Where a cell ends is a
matter of float64 rounding, to the nearest 2^-24 of a bin, half to even.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from milepost.neighbors import _numpy
from milepost.neighbors._backend import Array, Backend, backend_of
from milepost.neighbors._blocks import spans
from milepost.neighbors._cells import END_OF_KEYS, LEAST_KEY, Ints, keys_of
from milepost.neighbors._score import Distance, tree_sum

_LEVELS = 18  # a bin is 2^-18 of the range
_BITS = 24
UNITS = 1 << _BITS  # of a bin
_HUGE = 2.0**128  # float32 scores are below
_CHUNK = 1 << 19  # numbers in a temporary array


@dataclass(frozen=True)
class Grid:
    """A grid, and how finely each bin is cut.

    Attributes:
        least: where the first bin begins; scores below count for it, those above the last for that.
        step: the width of a bin, a power of two.
        bits: int64 (2^18 + 1,), a bin has 2^bits cells; -1: its pairs are not counted.
    """

    least: float
    step: float
    bits: Ints

    @classmethod
    def over(cls, distance: Distance, longest: float = 1.0) -> "Grid":
        """Return a grid over the scores of rows, one cell a bin.

        Args:
            distance: what a score is.
            longest: no row is longer; of no account for the cosine.
        """
        reach = {"cosine": 1.0, "dot": longest**2, "l2": (2 * longest) ** 2}[distance]
        reach = min(2.0 ** math.ceil(math.log2(reach)), _HUGE) if reach else 1.0
        step = (reach if distance == "l2" else 2 * reach) * 2.0**-_LEVELS
        bins = (1 << _LEVELS) + 1  # half of the first and the last: what rounding lets out
        return cls(-reach - step / 2, step, np.zeros(bins, np.int64))

    def even(self, counts: Ints, number: int) -> "Grid":
        """Return the grid cut so that few genuine-impostor combinations share a cell.

        `number` cells are shared out in proportion to sqrt(genuine x impostors); rounding up to
        powers of two at most doubles them. Where scores spread evenly in each bin, the area under
        the curve is then off by at most 1 / (2 `number`), by the Cauchy-Schwarz inequality.

        Args:
            counts: int64 (2, bins), impostor and genuine pairs in each bin.
            number: of cells.
        """
        weights = np.sqrt(counts[0] * 1.0 * counts[1])
        shares = number * weights / max(weights.sum(), 1.0)
        bits = np.ceil(np.log2(shares, where=shares > 1, out=np.full(len(shares), -1.0)))
        return Grid(self.least, self.step, bits.clip(max=_BITS - 1).astype(np.int64))

    @cached_property
    def _sizes(self) -> Ints:
        """The number of cells of each bin."""
        return np.where(self.bits < 0, 0, 1 << self.bits.clip(min=0))

    @cached_property
    def starts(self) -> Ints:
        """The number of the first cell of each bin; that of no cell for a bin left out."""
        return np.where(self.bits < 0, self.cells, np.cumsum(self._sizes) - self._sizes)

    @property
    def shifts(self) -> Ints:
        """Log2 of the width of a bin's cells, in units."""
        return np.where(self.bits < 0, _BITS, _BITS - self.bits)

    @cached_property
    def cells(self) -> int:
        """The number of cells."""
        return int(self._sizes.sum())

    @property
    def lowest(self) -> Ints:
        """The smallest key of each bin that is counted."""
        return self._keys(np.flatnonzero(self.bits >= 0) << _BITS)

    def ranges(self, cells: Ints) -> tuple[Ints, Ints]:
        """Return the smallest key of some cells, and the one after their largest."""
        bins = np.repeat(np.arange(len(self.bits)), self._sizes)[cells]
        shifts = self.shifts[bins]
        units = (bins << _BITS) + ((cells - self.starts[bins]) << shifts)
        return self._keys(units), self._keys(units + (1 << shifts))

    def lookup(self, like: Array, backend: Backend) -> "GridLookup":
        """Return what gives the cells of scores."""
        return GridLookup(self, like, backend)

    def _keys(self, units: Ints) -> Ints:
        """Return the smallest key in some units, an even number, or after them."""
        edges = self.least + (units - 0.5) * (self.step / UNITS)
        nearest = _numpy.round32(edges)
        keys: Ints = keys_of(nearest) + (nearest < edges)
        keys[units <= 0] = LEAST_KEY
        keys[units >= len(self.bits) << _BITS] = END_OF_KEYS
        return keys


@final
class GridLookup:
    """Gives the int64 cell of each score; that of a score in a bin left out is C.

    Args:
        grid: the cells.
        like: an array of the kind that scores are of.
        backend: what owns it.

    Attributes:
        unit: the width of a unit.
        half_ulp: how far rounding to float32 moves a score at most.
        is_coarse: whether each bin is one cell.
        may_overflow: whether scores may be infinite.
    """

    def __init__(self, grid: Grid, like: Array, backend: Backend) -> None:
        self._backend = backend
        self.unit = grid.step / UNITS
        self.half_ulp = max(-grid.least * 2.0**-25, 2.0**-150)
        origin = 1.5 * 2.0**52 * self.unit  # float64 numbers around it are units apart
        self._shift = origin - grid.least
        self._first = int(np.float64(origin).view(np.int64))
        self._last = (len(grid.bits) << _BITS) - 1
        self.may_overflow = -grid.least > _HUGE / 2
        self.is_coarse = bool((grid.bits == 0).all())
        self._starts, self._shifts = (
            backend.array(x, like=like) for x in (grid.starts, grid.shifts)
        )

    def __call__(self, scores: Array) -> Array:
        return self.cells(self.units(self._backend.float64(scores)))

    def units(self, numbers: Array) -> Array:
        """Return how many units float64 numbers lie above the start of the grid, rounded."""
        units = self._backend.bits(numbers + self._shift)
        units -= self._first
        return units.clip(0, self._last) if self.may_overflow else units

    def cells(self, units: Array) -> Array:
        """Return the cell of numbers of units, which are overwritten."""
        if self.is_coarse:
            units >>= _BITS
            return units
        bins = units >> _BITS
        return self._starts[bins] + ((units & UNITS - 1) >> self._shifts[bins])


def longest_row(rows: Array) -> float:
    """Return the length of the longest of float32 rows; 0 where there are none."""
    backend, longest = backend_of(rows), 0.0
    for some in spans(len(rows), max(1, _CHUNK // max(1, rows.shape[1]))):
        numbers = backend.float64(rows[some])
        numbers *= numbers
        longest = max(longest, float(tree_sum(numbers).max()))
    return math.sqrt(longest)
