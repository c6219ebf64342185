"""What a distance is: one number a pair, the same in every form.

N, Q and R are numbers of rows, d is the dimension. A value is float32 and depends on its two rows
alone: `matrix` and `pairwise` give the same bits for a pair, in any block, with any number of
threads, in NumPy and torch.
"""

import abc
import itertools
import math
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import numpy as np

from milepost.neighbors._backend import Array, Backend, backend_of
from milepost.neighbors._blocks import block_shape, chunks, spans
from milepost.neighbors._score import Distance, as_rows, unit_rows
from milepost.neighbors._sure import Decisions

_CHUNK = 1 << 19  # numbers in a temporary array


class DistanceMeasure(abc.ABC):
    """How far apart, or how alike, two embeddings are.

    Attributes:
        is_inverted: whether a larger value is closer.
        is_symmetric: whether a pair has the same value in either order.
        normalize_embeddings: whether embeddings are scaled to length 1 first.
    """

    is_inverted: ClassVar[bool] = False
    is_symmetric: ClassVar[bool] = True
    normalize_embeddings: bool

    @property
    def ranks_as(self) -> Distance | None:
        """The score by which prepared rows rank for a query; None: by their values.

        Where it tells apart what a value rounds to one, it decides.
        """
        return None

    def matrix(self, query: Array, ref: Array) -> Array:
        """Return the value of every query with every reference, float32 (Q, R).

        Memory: the result, a float32 copy of the rows, and blocks that do not grow with them.

        Args:
            query: shape (Q, d), an array or a tensor; the result is of its kind.
            ref: shape (R, d).

        Raises:
            ValueError: they are not finite matrices of one dimension.
        """
        query, ref, backend = as_two_matrices(query, ref, ("query", "ref"))
        return self._matrix(self._prepare(query, backend), self._prepare(ref, backend), backend)

    def pairwise(self, x: Array, y: Array) -> Array:
        """Return the value of each row of `x` with the same row of `y`, float32 (N,).

        Memory: the result, and blocks that do not grow with the rows.

        Args:
            x: shape (N, d), an array or a tensor; the result is of its kind.
            y: shape (N, d).

        Raises:
            ValueError: they are not finite matrices of one shape.
        """
        x, y, backend = as_two_matrices(x, y, ("x", "y"))
        if len(x) != len(y):
            msg = f"`x` and `y` must have as many rows, got {len(x)} and {len(y)}"
            raise ValueError(msg)
        result = backend.array(np.empty(len(x), np.float32), like=x)
        for rows in spans(len(x), max(1, _CHUNK // x.shape[1])):
            pair = self._prepare(x[rows], backend), self._prepare(y[rows], backend)
            result[rows] = self._pairs(*pair, backend)
        return result

    def prepared(self, x: Array, backend: Backend) -> Array:
        """Return the float32 rows that are compared; those of several blocks are those of each."""
        parts = [self._prepare(x[rows], backend) for rows in chunks(x)]
        return backend.concat(parts, axis=0) if parts else x

    def values(self, scores: Array, query: Array, backend: Backend) -> Array:
        """Return the values behind scores by which rows ranked, (Q, K).

        Args:
            scores: float32 (Q, K).
            query: prepared rows, float32 (Q, d).
            backend: what owns the arrays.
        """
        return self.scores(scores)  # the values themselves, or minus them

    def scores(self, values: Array) -> Array:
        """Return values as scores, of which the larger is closer."""
        return values + 0.0 if self.is_inverted else 0.0 - values  # no negative zero

    def _prepare(self, x: Array, backend: Backend) -> Array:
        """Return the float32 rows that are compared."""
        return unit_rows(x, backend) if self.normalize_embeddings else x

    def _matrix(self, query: Array, ref: Array, backend: Backend) -> Array:
        """Return the values of all pairs of prepared rows, tile by tile."""
        result = backend.array(np.empty((len(query), len(ref)), np.float32), like=query)
        shape = block_shape(query, ref, 0, None, backend)
        for rows in spans(len(query), shape.queries):
            for columns in spans(len(ref), shape.gallery):
                result[rows, columns] = self._block(query[rows], ref[columns], backend)
        return result

    def _matches(self, query: Array, ref: Array, threshold: float, backend: Backend) -> Array:
        """Return which pairs of prepared rows meet a float32 threshold, bool (Q, R)."""
        decided = self._decisions(query, ref, threshold, backend)
        if decided is None:
            return self.meets(self._matrix(query, ref, backend), threshold)
        i, j = backend.positions(decided.doubt)
        for some in spans(len(i), max(1, _CHUNK // query.shape[1])):
            values = self._pairs(query[i[some]], ref[j[some]], backend)
            decided.sure[i[some], j[some]] = self.meets(values, threshold)
        return decided.sure

    def _decisions(
        self, query: Array, ref: Array, threshold: float, backend: Backend
    ) -> Decisions | None:
        """Return which pairs surely match without their values, if there is a quick way."""
        return None

    def meets(self, values: Array, threshold: float) -> Array:
        """Return which values are as close as a threshold, or closer."""
        return values >= threshold if self.is_inverted else values <= threshold

    @abc.abstractmethod
    def _block(self, query: Array, ref: Array, backend: Backend) -> Array:
        """Return the values of all pairs of prepared rows, float32 (Q, R)."""

    @abc.abstractmethod
    def _pairs(self, x: Array, y: Array, backend: Backend) -> Array:
        """Return the values of prepared rows, pair by pair, float32 (N,)."""


class PairBlock(NamedTuple):
    """The values, float32, of some queries with some references, or which of them match, bool."""

    rows: slice
    columns: slice
    pairs: Array


def value_blocks(
    distance: DistanceMeasure, query: Array, ref: Array, *, skip_below: bool = False
) -> Iterator[PairBlock]:
    """Yield the values of every query with every reference, a square block at a time.

    Args:
        distance: what the values are.
        query: float32 (Q, d).
        ref: float32 (R, d).
        skip_below: whether blocks that lie below the diagonal are left out.
    """
    backend = backend_of(query)
    query, ref = distance._prepare(query, backend), distance._prepare(ref, backend)
    for rows, columns in _squares(query, ref, backend):
        if not skip_below or columns.start >= rows.start:
            yield PairBlock(rows, columns, distance._matrix(query[rows], ref[columns], backend))


def match_blocks(
    distance: DistanceMeasure, query: Array, ref: Array, threshold: float
) -> Iterator[PairBlock]:
    """Yield which queries match which references, a square block at a time.

    It is what their values say, but most of them need not be computed.

    Args:
        distance: what is compared with the threshold.
        query: float32 (Q, d).
        ref: float32 (R, d).
        threshold: a float32 number.
    """
    backend = backend_of(query)
    query, ref = distance._prepare(query, backend), distance._prepare(ref, backend)
    for rows, columns in _squares(query, ref, backend):
        matches = distance._matches(query[rows], ref[columns], threshold, backend)
        yield PairBlock(rows, columns, matches)


def _squares(query: Array, ref: Array, backend: Backend) -> Iterator[tuple[slice, slice]]:
    """Yield slices of queries and references that cover all pairs."""
    side = 2 * math.isqrt(backend.tile_pairs(query))
    return itertools.product(spans(len(query), side), spans(len(ref), side))


def as_two_matrices(x: Array, y: Array, names: tuple[str, str]) -> tuple[Array, Array, Backend]:
    """Return embeddings as finite float32 rows of one dimension, and their backend."""
    backend = backend_of(x, y)
    x, y = as_rows(x, names[0], backend), as_rows(y, names[1], backend)
    if x.shape[1] != y.shape[1]:
        msg = f"`{names[0]}` and `{names[1]}` must have one dimension, got " + (
            f"{x.shape[1]} and {y.shape[1]}"
        )
        raise ValueError(msg)
    return x, y, backend
