"""Principal axes of the gallery rows of all workers: sums that are exact, in any order.

d is the dimension. A number x below 2^e is taken as (h + l / 2^b) 2^(e - b), h and l whole numbers
of b bits: products of h with h, and of h with l, add up to whole numbers that float64 has exactly,
a block of rows at a time, and that int64 has for all rows. Products of l with l, below 2^-2b of the
largest, are left out.
"""

from collections.abc import Sequence
from typing import final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._inferencer import State
from milepost.neighbors import Array, backend_of, pair_scores

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_BITS = 20  # b; fewer where there are more than 2^22 rows
_BLOCK = 1 << 12  # rows whose products are added up in float64: 2b + 12 bits
_NAMES = ("h", "l", "hh", "hl")


@final
class PrincipalAxes:
    """Finds the axes along which the gallery varies most, and projects rows on them.

    Memory: 48 d^2 bytes, and blocks of 4,096 rows.

    Args:
        count: how many axes.

    Attributes:
        is_fitted: whether the axes are known.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._extent: tuple[int, float] = (0, 0.0)
        self._sums: dict[str, Ints] = {}
        self.is_fitted = False

    def state(self, extent: tuple[int, float]) -> State:
        """Return this worker's sums or, before `add`, the extent of its rows."""
        if self._sums:
            return self._sums
        return {"extent": np.maximum(extent, self._extent)}

    def merge(self, states: Sequence[State]) -> None:
        """Add the sums of other workers or, before `add`, take in the extent of their rows."""
        if not self._sums:
            extents = [state["extent"] for state in states]
            dimension, largest = np.max([self._extent, *extents], axis=0)
            self._extent = int(dimension), float(largest)
        self._sums = {
            name: np.sum([own, *(state[name] for state in states)], axis=0)
            for name, own in self._sums.items()
        }

    def add(self, rows: Array, size: int, extent: tuple[int, float]) -> None:
        """Add up this worker's gallery rows.

        Args:
            rows: shape (N, d).
            size: how many rows all workers have.
            extent: d, and the largest magnitude of a number, of this worker's rows.

        Raises:
            ValueError: there are fewer rows or columns than axes.
        """
        dimension, largest = (max(pair) for pair in zip(extent, self._extent, strict=True))
        dimension = int(dimension)
        if self._count > min(dimension, size):
            msg = (
                f"`pca` must be at most the dimension of the embeddings, {dimension}, and the "
                f"number of gallery rows, {size}, got {self._count}"
            )
            raise ValueError(msg)
        self._size = size
        self._bits = min(_BITS, (62 - size.bit_length()) // 2)
        self._exponent = int(np.frexp(largest)[1])
        shapes = (dimension,), (dimension,), (dimension, dimension), (dimension, dimension)
        self._sums = {
            name: np.zeros(shape, np.int64) for name, shape in zip(_NAMES, shapes, strict=True)
        }
        for start in range(0, len(rows), _BLOCK):
            self._add_block(rows[start : start + _BLOCK])

    def fit(self) -> None:
        """Find the axes, when sums are merged."""
        part = 2.0**-self._bits
        mean = (self._sums["h"] + part * self._sums["l"]) / self._size
        both = self._sums["hl"] + self._sums["hl"].T
        covariance = (self._sums["hh"] + part * both) / self._size - np.outer(mean, mean)
        _, vectors = np.linalg.eigh(covariance)  # ascending
        axes = vectors.T[::-1][: self._count]
        peaks = axes[np.arange(len(axes)), abs(axes).argmax(axis=1)]
        self._axes = (axes * np.sign(peaks)[:, None]).astype(np.float32)
        self.is_fitted = True
        self._mean: Floats = mean * 2.0 ** (self._exponent - self._bits)

    def project(self, rows: Array) -> Array:
        """Return some rows along the axes, around the gallery's mean: float32 (N, count).

        Each number is a dot product as `pair_scores` defines it: the same in any block.
        """
        backend = backend_of(rows)
        wide = backend.float64(backend.rows32(rows))
        centred = backend.round32(wide - backend.array(self._mean, like=rows))
        axes = backend.array(self._axes, like=rows)
        projected: Array = pair_scores(centred, axes, distance="dot")
        return projected

    def _add_block(self, rows: Array) -> None:
        backend, unit = backend_of(rows), 2.0**self._bits
        scaled = backend.float64(backend.rows32(rows)) * 2.0 ** (self._bits - self._exponent)
        upper = backend.rint(scaled)
        lower = backend.rint((scaled - upper) * unit)
        totals = upper.sum(axis=0), lower.sum(axis=0), upper.T @ upper, upper.T @ lower
        for name, total in zip(_NAMES, totals, strict=True):
            self._sums[name] += backend.numpy(total).astype(np.int64)
