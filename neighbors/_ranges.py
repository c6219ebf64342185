"""Some ranges of scores, cut finely: what remains to be counted to make a result exact."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from milepost.neighbors import _numpy
from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._cells import END_OF_KEYS, LEAST_KEY, Cells, Ints
from milepost.neighbors._rank_keys import from_ordered, ordered

_BITS = 20  # of the number of all cells


class Window(NamedTuple):
    """Scores from `least` to `most`."""

    least: float
    most: float


@dataclass(frozen=True)
class Ranges:
    """Disjoint ranges of keys, each cut into cells of 2^shift keys.

    Attributes:
        lowest: int64 (B,), the smallest key of each range, ascending.
        stops: int64 (B,), the key after the largest.
        shifts: int64 (B,), log2 of the width of its cells; the last may be narrower.
    """

    lowest: Ints
    stops: Ints
    shifts: Ints

    @classmethod
    def everything(cls) -> "Ranges":
        """Return one range of all scores, 512 cells to an octave."""
        return cls(*(np.array([number]) for number in (LEAST_KEY, END_OF_KEYS, 14)))

    @classmethod
    def of(cls, cells: Cells, positions: Ints) -> "Ranges":
        """Return ranges that are cells of a histogram, cut as finely as 2^20 cells allow.

        What holds the score 0 is cut there first: many pairs may share it, and few its neighbours.
        """
        positions = np.sort(positions)[::-1]
        lowest = cells.lowest[positions]
        stops = lowest + cells.widths[positions]
        around = (lowest <= 0) & (stops > 0)
        cuts = [np.clip(cut, lowest[around], stops[around]) for cut in (0, 1)]
        lowest = np.sort(np.concatenate([lowest, *cuts]))
        stops = np.sort(np.concatenate([stops, *cuts]))
        some = stops > lowest
        lowest, stops = lowest[some], stops[some]
        bits = _BITS - math.ceil(math.log2(max(1, len(lowest))))
        shifts = np.ceil(np.log2(stops - lowest)).astype(np.int64) - bits
        return cls(lowest, stops, shifts.clip(min=0))

    @cached_property
    def _starts(self) -> Ints:
        """The number of the first cell of each range, and the number of all cells."""
        sizes = ((self.stops - self.lowest - 1) >> self.shifts) + 1
        return np.concatenate([[0], np.cumsum(sizes)])

    @property
    def cells(self) -> int:
        """The number of cells."""
        return int(self._starts[-1])

    def ranges(self, cells: Ints) -> tuple[Ints, Ints]:
        """Return the smallest key of some cells, and the one after their largest."""
        at = np.searchsorted(self._starts, cells, side="right") - 1
        lowest = self.lowest[at] + ((cells - self._starts[at]) << self.shifts[at])
        return lowest, np.minimum(lowest + (1 << self.shifts[at]), self.stops[at])

    def lookup(self, like: Array, backend: Backend) -> Callable[[Array], Array]:
        """Return what gives the cell of each score; that of a score in no range is C."""
        columns = self.lowest, self.stops, self.shifts, self._starts
        lowest, stops, shifts, starts = (backend.array(column, like=like) for column in columns)

        def cell_of(scores: Array) -> Array:
            keys = backend.int64(ordered(scores, backend))
            at = backend.last_at_most(lowest, keys)
            found = starts[at] + ((keys - lowest[at]) >> shifts[at])
            found[(keys < lowest[at]) | (keys >= stops[at])] = self.cells
            return found

        return cell_of

    def windows(self, most: int) -> list[Window]:
        """Return at most so many windows that hold all ranges, those closest together joined."""
        ends = from_ordered(np.stack([self.lowest, self.stops - 1]), _numpy).astype(np.float64)
        with np.errstate(invalid="ignore"):
            gaps = np.nan_to_num(ends[0, 1:] - ends[1, :-1])
        cuts = np.sort(np.argsort(-gaps, kind="stable")[: most - 1])
        least, last = np.concatenate([[0], cuts + 1]), np.concatenate([cuts, [len(self.stops) - 1]])
        return [
            Window(*pair)
            for pair in zip(ends[0, least].tolist(), ends[1, last].tolist(), strict=True)
        ]
