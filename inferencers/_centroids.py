"""The centroids of classes, as sums that do not depend on the order of rows.

N is the number of rows, C that of classes, d the dimension.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from milepost.neighbors import Array, backend_of, unit_rows

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_BITS = 61  # of the largest sum there can be
_TINY = 2.0**-900  # in place of 0
_BLOCK = 1 << 20  # numbers converted at once


@dataclass(frozen=True)
class Centroids:
    """The sums of the rows of each class, in fixed point.

    Attributes:
        sums: int64 (C, d), in units of `unit`.
        counts: int64 (C,), the rows of each class; of all workers, as those of the sums will be.
        unit: a power of two, such that no sum overflows.
        scaled: whether rows are scaled to length 1 first.
    """

    sums: Ints
    counts: Ints
    unit: float
    scaled: bool

    @classmethod
    def of(
        cls, rows: Array, codes: Ints, counts: Ints, largest: float, *, scaled: bool
    ) -> "Centroids":
        """Return the sums of this worker's rows.

        Args:
            rows: float32 (N, d).
            codes: int64 (N,), their classes.
            counts: int64 (C,), the rows of all workers.
            largest: what no number in the rows of all workers exceeds.
            scaled: whether to scale rows to length 1 first.
        """
        reach = 1.0 if scaled else max(largest, _TINY)
        exponent = int(np.ceil(np.log2(reach))) + int(counts.sum()).bit_length() - _BITS
        sums = np.zeros((len(counts), rows.shape[1]), np.int64)
        centroids = cls(sums, counts, 2.0**exponent, scaled)
        for some in _blocks(rows):
            order = np.argsort(codes[some], kind="stable")
            classes, starts = np.unique(codes[some][order], return_index=True)
            sums[classes] += np.add.reduceat(centroids.fixed(rows[some])[order], starts, axis=0)
        return centroids

    def plus(self, sums: Ints) -> "Centroids":
        """Return these with the sums of another worker, which may have no rows, and no d."""
        joined = self.sums + sums if self.sums.size and sums.size else self.sums + 0
        return Centroids(joined if self.sums.size else sums, self.counts, self.unit, self.scaled)

    def fixed(self, rows: Array) -> Ints:
        """Return float32 rows (N, d) in units of `unit`."""
        backend = backend_of(rows)
        near = backend.numpy(unit_rows(rows, backend) if self.scaled else rows)
        return np.rint(near.astype(np.float64) / self.unit).astype(np.int64)

    def means(self, classes: Ints, left_out: Ints | None = None) -> Floats:
        """Return the centroids of classes (N,), float32 (N, d).

        Args:
            classes: their positions; each has a row besides those left out.
            left_out: int64 (N, d), a row that is left out of each, in units of `unit`.
        """
        sums, counts = self.sums[classes], self.counts[classes]
        if left_out is not None:
            sums, counts = sums - left_out, counts - 1
        means: Floats = (sums * (self.unit / counts)[:, None]).astype(np.float32)
        return means


def _blocks(rows: Array) -> Iterator[slice]:
    """Give slices of rows of about a million numbers."""
    step = max(1, _BLOCK // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        yield slice(start, start + step)
