"""A histogram of the scores of all pairs, cut finer where something is read off."""

from collections.abc import Callable, Sequence
from typing import final

import numpy as np

from milepost.inferencers._inferencer import State
from milepost.inferencers._pair_set import Compared, PairSet
from milepost.neighbors import (
    Cells,
    Grid,
    Point,
    Ranges,
    area_error,
    cells_of,
    pair_histogram,
    refinement,
)

_AUC_BOUND, _AUC_SPREAD = 2.0**-16, 2.0**-20  # errors above which cells are cut
_AUC_CELLS = 1 << 19  # see `Grid.even`
_MOST_CELLS = 128  # refined in one pass: at most 32 MiB of counters


@final
class RefinedHistogram:
    """Counts one worker's pairs, in passes over the rows of all workers.

    The first pass counts all, on a grid. The others count again, in finer cells, what is near a
    number that is read off: mostly one pass, a few where scores crowd.

    Args:
        pairs: the pairs.
    """

    def __init__(self, pairs: PairSet) -> None:
        self.pairs = pairs
        self._passes = 0
        self._layout: Grid | Ranges = Grid.over(pairs.distance)
        self._counts = np.zeros((2, 0), np.int64)
        self._kept: Cells | None = None  # the histogram of the passes before
        self._now: Cells | None = None  # the histogram with what this pass counted

    def next_layout(self, wanted: Callable[[Cells], Sequence[Point]]) -> Grid | Ranges | None:
        """Return what the next pass counts: at most once finer cells everywhere, then ranges.

        Args:
            wanted: gives what is read off a histogram.
        """
        if not self._passes:
            longest = self.pairs.longest()
            return None if self.pairs.is_empty else Grid.over(self.pairs.distance, longest)
        cells = self.cells()
        if isinstance(self._layout, Grid) and self._passes == 1:
            bound, spread = area_error(cells)
            if bound > _AUC_BOUND or spread > _AUC_SPREAD:
                return self._layout.even(self._counts, _AUC_CELLS)
        ranges = refinement(cells, list(wanted(cells)), _MOST_CELLS)
        return ranges if ranges.cells else None

    def start(self, layout: Grid | Ranges) -> None:
        """Prepare for a pass."""
        self._kept = self.cells() if self._passes else None
        self._layout, self._passes = layout, self._passes + 1
        self._counts, self._now = np.zeros((2, layout.cells), np.int64), None

    def scan(self, compared: Compared) -> None:
        """Count pairs."""
        self._now = None
        self._counts += pair_histogram(
            compared.queries,
            compared.gallery,
            *compared.labels,
            self._layout,
            distance=self.pairs.distance,
            **compared.limits._asdict(),
        )

    def state(self) -> State:
        """Return what this pass counted."""
        return {"pairs": self._counts}

    def merge(self, states: Sequence[State]) -> None:
        """Add what other workers counted in this pass."""
        self._counts = np.sum([self._counts, *(state["pairs"] for state in states)], axis=0)
        self._now = None

    def cells(self) -> Cells:
        """Return the histogram as it is by now."""
        if self._now is None:
            self._now = (
                cells_of(self._layout, self._counts)
                if self._kept is None
                else self._kept.refined(self._layout, self._counts)
            )
        return self._now
