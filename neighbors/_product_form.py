"""The scores of rows as float32 products: how rows are written, and how far a product may be off.

A float32 product whose numbers go through r roundings at most (d in any order of summation) is at
most (1.01 (r + 16) 2^-24 + 2^-36) |q||g| + tiny from the exact one [Higham, Accuracy and Stability
of Numerical Algorithms, 2002, ch. 3]; this allows for the rounding of rows and of the score, too.

l2 is made a product: -|q - g|^2 + |q|^2 = 2 q g - |g|^2, around the gallery's mean; |g|^2 takes two
more columns, its float32 and the rest. The expanded terms are at most (|q| + |g|)^2.
"""

from typing import NamedTuple, final

import numpy as np

from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._blocks import chunks
from milepost.neighbors._score import Distance, tree_sum

_ROUNDOFF = 2.0**-24
_LONGEST = 2.0**60  # of a query, the gallery being scaled to less than 2^9: nothing overflows
_SHORT = 2.0**20  # of a query, where scores of a gallery of usual scale do not overflow
_USUAL = range(-40, 11)  # exponents of scale at which float32 neither overflows nor loses bits


class QueryForm(NamedTuple):
    """Queries as the left side of products.

    Attributes:
        rows: float32 (Q, d'), the left side.
        reach: float64 (Q,), what the error of a product is relative to.
        excess: float64 (Q,), by how much products exceed the score; 0 but for l2.
        bounded: bool (Q,), whether the query is short enough for the error to hold.
        ordinary: bool (Q,), whether the error holds for products turned to scores, too.
    """

    rows: Array
    reach: Array
    excess: Array
    bounded: Array
    ordinary: Array

    def error(self, roundings: int) -> Array:
        """Return how far from the exact one a product may be, float64 (Q,)."""
        relative = 1.01 * (roundings + 16) * _ROUNDOFF + 2.0**-36
        return self.reach * relative + self.rows.shape[1] * 2.0**-122


@final
class ProductForm:
    """The right side of products: a gallery, shuffled, so that its first rows are a fair sample.

    Memory: 4 (d + 2) bytes a row.

    Args:
        rows: prepared rows, float32 (G, d).
        distance: what the score is made of.
        backend: what owns the arrays.

    Attributes:
        rows: float32 (G, d'), the right side.
        order: int64 (G,), the position of each of them in the gallery.
    """

    def __init__(self, rows: Array, distance: Distance, backend: Backend) -> None:
        self._distance, self._backend = distance, backend
        self._centre = backend.float64(rows[:1])[0] * 0.0
        if distance == "l2":
            sums = (backend.float64(rows[s]).sum(axis=0) for s in chunks(rows))
            self._centre = sum(sums, self._centre) / len(rows)
        self._exponent = 0
        if distance != "cosine":
            largest = max(float(abs(rows[s] - self._centre).max()) for s in chunks(rows))
            self._exponent = -int(np.frexp(largest)[1])
        order = np.random.default_rng(0).permutation(len(rows))
        self.order, places = (backend.array(x, like=rows) for x in (order, np.argsort(order)))
        shape = len(rows), rows.shape[1] + 2 * (distance == "l2")
        self.rows = backend.array(np.empty(shape, np.float32), like=rows)
        self._longest = 0.0
        for s in chunks(rows):
            self.rows[places[s]] = self._right_side(rows[s])

    def of_queries(self, rows: Array) -> QueryForm:
        """Return prepared rows as the left side."""
        backend, scaled = self._backend, self._scaled(rows)
        squares = tree_sum(backend.float64(scaled) ** 2)
        lengths = backend.sqrt(squares)
        reach = lengths * self._longest
        if self._distance == "l2":
            reach = (lengths + self._longest) ** 2
            ones = scaled[:, :1] * 0 + 1
            scaled = backend.concat([scaled, ones, ones], axis=1)
        return QueryForm(
            scaled,
            reach,
            squares if self._distance == "l2" else squares * 0.0,
            lengths < _LONGEST,
            lengths < (_SHORT if self._exponent in _USUAL else -1.0),
        )

    def scores(self, products: Array) -> Array:
        """Return float64 products less their excess as scores, float32."""
        degree = 0 if self._distance == "cosine" else 2
        return self._backend.round32(products * 2.0 ** (-self._exponent * degree)) + 0.0

    def _scaled(self, rows: Array) -> Array:
        """Return rows around the centre, scaled so that products neither overflow nor vanish."""
        if self._distance == "cosine":
            return rows
        scaled = (self._backend.float64(rows) - self._centre) * 2.0**self._exponent
        return self._backend.round32(scaled)

    def _right_side(self, rows: Array) -> Array:
        backend, scaled = self._backend, self._scaled(rows)
        squares = tree_sum(backend.float64(scaled) ** 2)[:, None]
        self._longest = max(self._longest, float(squares.max()) ** 0.5)
        if self._distance != "l2":
            return scaled
        upper = backend.round32(squares)
        rest = backend.round32(squares - backend.float64(upper))
        return backend.concat([2 * scaled, -upper, -rest], axis=1)
