"""The seam between the kernels and the library that owns their arrays.

A kernel is written once, in operators that NumPy arrays and torch tensors share; what differs is a
function of `Backend`, which the modules `_numpy` and `_torch` give. Both do the same IEEE
operations in the same order, so that a kernel's result is the same to the bit in either.
"""

import importlib
import sys
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias, cast

import numpy.typing as npt

Array: TypeAlias = Any
"""A NumPy array or a torch tensor."""


class Backend(Protocol):
    """What a library of arrays must give; `x` and the results are its own arrays."""

    def tile_pairs(self, like: Array) -> int:
        """Return how many pairs to score at once to be quick where `like` lives."""

    def available_bytes(self, like: Array) -> int:
        """Return the free memory where `like` lives."""

    def rows32(self, x: Array) -> Array:
        """Return `x` as float32, detached, on a device that has float64."""

    def narrowed(self, x: Array, dtype: str) -> Array:
        """Return float32 `x` rounded to `"float16"` or `"bfloat16"`; `rows32` widens it again."""

    def float64(self, x: Array) -> Array:
        """Return `x` as float64."""

    def int64(self, x: Array) -> Array:
        """Return `x` as int64."""

    def round32(self, x: Array) -> Array:
        """Return float64 `x` rounded to float32, to infinity where it is too large."""

    def bits(self, x: Array) -> Array:
        """Return float32 `x` seen as int32, float64 as int64."""

    def from_bits(self, x: Array) -> Array:
        """Return integers in the range of int32 seen as float32."""

    def sqrt(self, x: Array) -> Array:
        """Return the square root, rounded correctly."""

    def rint(self, x: Array) -> Array:
        """Return the nearest whole numbers."""

    def last_at_most(self, edges: Array, x: Array) -> Array:
        """Return for each `x` the position of the last of ascending `edges` that is no larger.

        Where there is none, the position is 0.
        """

    def finite_rows(self, x: Array) -> Array:
        """Return which rows of `x` have no NaN and no infinity."""

    def count(self, mask: Array) -> int:
        """Return at how many positions `mask` is true."""

    def positions(self, mask: Array) -> tuple[Array, ...]:
        """Return the positions at which `mask` is true, an array for each axis."""

    def unique_rows(self, x: Array) -> tuple[Array, Array]:
        """Return the different rows of `x`, and for each row of `x` its position among them."""

    def largest(self, keys: Array, k: int) -> Array:
        """Return the `k` largest of each row, in descending order."""

    def last_axis_max(self, x: Array) -> Array:
        """Return the largest number of the last axis."""

    def take(self, x: Array, positions: Array) -> Array:
        """Return the rows of `x` at positions of any shape."""

    def products(self, queries: Array, gallery: Array) -> Array:
        """Return the products of all pairs of rows, computed in float32 or more, float32 (Q, G)."""

    def best_products(self, queries: Array, gallery: Array, k: int) -> tuple[Array, Array, int]:
        """Return the `k` largest products of each query, and where in the gallery they are.

        Float32 in and computed with, each rounded as float32 at least: (Q, k) descending, and
        int64 (Q, k); and how many roundings a product went through at most, one after the other.
        """

    def best_products_within(
        self, rows: Array, k: int
    ) -> Iterator[tuple[slice, tuple[Array, Array, int]]]:
        """Yield blocks of rows with what `best_products` returns, the gallery being all rows."""

    def running_max(self, x: Array) -> Array:
        """Return for each position of a row the largest number up to there."""

    def tally(self, counts: Array, x: Array) -> None:
        """Add to int64 `counts` how often each of its positions occurs in `x`."""

    def concat(self, arrays: list[Array], axis: int) -> Array:
        """Return the arrays joined along an axis."""

    def array(self, values: npt.NDArray[Any], like: Array) -> Array:
        """Return NumPy values where `like` lives."""

    def copy(self, x: Array) -> Array:
        """Return a copy of `x`, detached."""

    def numpy(self, x: Array) -> npt.NDArray[Any]:
        """Return `x` as a NumPy array."""


def backend_of(*arrays: Array) -> Backend:
    """Return the backend that owns the arrays: torch if any is a tensor, else NumPy."""
    torch = sys.modules.get("torch")
    is_torch = torch is not None and any(isinstance(array, torch.Tensor) for array in arrays)
    name = "_torch" if is_torch else "_numpy"
    return cast("Backend", importlib.import_module(f"milepost.neighbors.{name}"))
