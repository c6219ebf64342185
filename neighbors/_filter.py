"""A float32 filter in front of the search: few candidates are scored, the result is proven exact.

A float32 product finds the best candidates of each query, some more than k; only they are scored
as the module `_score` defines it. A float32 product is at most err = (1.01 (d + 8) 2^-24 + 2^-36)
|q||g| + tiny from the exact one, in any order of summation [Higham, Accuracy and Stability of
Numerical Algorithms, 2002, ch. 3]. What was not a candidate has a product of at most that of the
last candidate, so its score is below that + err. If the k-th best candidate is above this bound,
no other row can be among the k best: the query is settled. If not (equal and nearly equal
vectors), more candidates are tried, and at last the query is left to the search that scores all.

l2 is made a product: -|q - g|^2 + |q|^2 = 2 q g - |g|^2, around the gallery's mean; |g|^2 takes two
more columns, its float32 and the rest. The expanded terms are at most (|q| + |g|)^2.
"""

from collections.abc import Iterator
from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt

from milepost.neighbors._backend import Array, Backend, backend_of
from milepost.neighbors._blocks import prepared_rows, spans
from milepost.neighbors._rank_keys import NOTHING, merged, rank_keys
from milepost.neighbors._score import Distance, prepare, score_lists, tree_sum

Ints = npt.NDArray[np.int64]

_ROUNDOFF = 2.0**-24
_WIDER = 4  # times as many candidates in the next try
_MOST = 16  # a list has at most this part of the gallery; more candidates do not pay
_BLOCK = 1024  # queries; the first block finds how many candidates it takes
_CHUNK = 1 << 17  # numbers gathered at once: 1 MiB of float64
_FIXED_BYTES = 32 << 20  # the product's own blocks
_ENTRY_BYTES = 48
_FEWEST = 64  # queries for which it pays to prepare the gallery
_FAST = 1 << 17  # numbers in a block of queries; with fewer, faiss leaves its fast path
_MOST_DIMENSION = 1 << 16
_LONGEST = 2.0**60  # of a query, the gallery being scaled to less than 2^9: nothing overflows


class _Found(NamedTuple):
    """Candidates, and which queries they settle."""

    keys: Array
    proven: Array


@final
class Filter:
    """The gallery as it is filtered.

    Args:
        gallery: float32 (G, d), a piece of the gallery.
        start: the position of its first row.
        distance: what the score is made of.
        backend: what owns the arrays.
    """

    def __init__(self, gallery: Array, start: int, distance: Distance, backend: Backend) -> None:
        self._start, self._distance, self._backend = start, distance, backend
        self._rows = prepared_rows(gallery, distance, backend)  # what scores are made of
        self._centre = backend.float64(gallery[:1])[0] * 0.0
        if distance == "l2":
            sums = (backend.float64(gallery[s]).sum(axis=0) for s in _chunks(gallery))
            self._centre = sum(sums, self._centre) / len(gallery)
        self._exponent = 0
        if distance != "cosine":
            largest = max(float(abs(self._rows[s] - self._centre).max()) for s in _chunks(gallery))
            self._exponent = -int(np.frexp(largest)[1])
        parts = [self._gallery_form(self._rows[s]) for s in _chunks(gallery)]
        self._filtered = backend.concat([part[0] for part in parts], axis=0)
        self._longest = max(part[1] for part in parts)

    def nearest(self, queries: Array, exclude: Array, k: int, width: int) -> _Found:
        """Return the keys of the k best of `width` candidates, and whether they are proven.

        Args:
            queries: float32 (Q, d).
            exclude: int64 (Q,), the position that a query leaves out; others are no position.
            k: below `width`.
            width: candidates a query, at most G.
        """
        backend = self._backend
        prepared = prepare(queries, self._distance, backend)
        filtered, lengths, base = self._query_form(prepared)
        values, positions = backend.best_products(filtered, self._filtered, width)
        scores = backend.concat(
            [
                score_lists(prepared[s], self._rows, positions[s], self._distance, backend)
                for s in spans(len(queries), max(1, _CHUNK // (width * queries.shape[1])))
            ],
            axis=0,
        )
        places = positions + self._start
        keys = rank_keys(scores, places, backend)
        keys[places == exclude[:, None]] = NOTHING
        keys = backend.largest(keys, k)
        if width == len(self._rows):
            return _Found(keys, positions[:, 0] >= 0)
        bound = backend.float64(values[:, -1]) + self._error(lengths) - base
        bound = backend.round32(bound * 2.0 ** (-self._exponent * self._degree)) + 0.0
        highest = rank_keys(bound[:, None], positions[:, :1] * 0, backend)[:, 0]
        return _Found(keys, (keys[:, -1] > highest) & (bound < np.inf) & (lengths < _LONGEST))

    @property
    def _degree(self) -> int:
        return 0 if self._distance == "cosine" else 2

    def _error(self, lengths: Array) -> Array:
        """Bound the error of products with queries of the given lengths."""
        dimension = self._rows.shape[1]
        relative = 1.01 * (dimension + 8) * _ROUNDOFF + 2.0**-36
        reach = lengths * self._longest
        if self._distance == "l2":
            reach = (lengths + self._longest) ** 2
        return reach * relative + dimension * 2.0**-122

    def _scaled(self, rows: Array) -> Array:
        """Return rows around the centre, scaled so that products neither overflow nor vanish."""
        backend = self._backend
        if self._distance == "cosine":
            return rows
        scaled = (backend.float64(rows) - self._centre) * 2.0**self._exponent
        return backend.round32(scaled)

    def _gallery_form(self, rows: Array) -> tuple[Array, float]:
        """Return the right side of the product, and the greatest length."""
        backend, scaled = self._backend, self._scaled(rows)
        squares = tree_sum(backend.float64(scaled) ** 2)[:, None]
        longest = float(squares.max()) ** 0.5
        if self._distance != "l2":
            return scaled, longest
        upper = backend.round32(squares)
        rest = backend.round32(squares - backend.float64(upper))
        return backend.concat([2 * scaled, -upper, -rest], axis=1), longest

    def _query_form(self, rows: Array) -> tuple[Array, Array, Array | float]:
        """Return the left side of the product, lengths, and what the product exceeds -|q - g|^2."""
        backend, scaled = self._backend, self._scaled(rows)
        squares = tree_sum(backend.float64(scaled) ** 2)
        lengths = backend.sqrt(squares)
        if self._distance != "l2":
            return scaled, lengths, 0.0
        ones = scaled[:, :1] * 0 + 1
        return backend.concat([scaled, ones, ones], axis=1), lengths, squares


def filtered_search(
    queries: Array,
    gallery: Array,
    best: Array,
    *,
    distance: Distance,
    exclude: Array,
    budget: int,
) -> Ints:
    """Put the keys of the nearest into `best`; return the positions of queries left unsettled.

    Memory: 8 (d + 2) bytes a gallery row, in pieces where that exceeds the budget, 32 MiB, and
    lists of candidates of a block of queries; nothing is filtered where the budget is smaller.

    Args:
        queries: float32 (Q, d).
        gallery: float32 (G, d).
        best: int64 (Q, k), k at most G; holds keys so far.
        distance: as for `search`.
        exclude: int64 (Q,), as for `search`.
        budget: bytes.
    """
    backend, k = backend_of(queries), best.shape[1]
    settled = np.ones(len(queries), np.bool_)
    size = _piece_size(queries, gallery, k, budget)
    for piece in spans(len(gallery) if size else 0, max(1, size)):
        rows = Filter(gallery[piece], piece.start, distance, backend)
        (left,) = np.nonzero(settled)
        for width in _widths(k, len(gallery[piece])):
            if len(left) < _FEWEST:
                break
            left = _settle(rows, left, queries, exclude, best, width, backend)
        settled[left] = False
    return np.flatnonzero(~settled) if size else np.arange(len(queries))


def _settle(
    gallery: Filter,
    left: Ints,
    queries: Array,
    exclude: Array,
    best: Array,
    width: int,
    backend: Backend,
) -> Ints:
    """Merge what is proven with lists of `width` into `best`; return the other positions.

    A width that settles less than half of the first queries is given up.
    """
    unproven = []
    blocks = _blocks(left, queries.shape[1])
    for number, block in enumerate(blocks):
        rows = backend.array(block, like=best)
        found = gallery.nearest(queries[rows], exclude[rows], best.shape[1], width)
        proven = backend.numpy(found.proven)
        done = rows[found.proven]
        best[done] = merged(best[done], found.keys[found.proven], best.shape[1], backend)
        unproven.append(block[~proven])
        if number == 0 and 2 * proven.sum() < len(block):
            return np.concatenate(unproven + blocks[1:])
    return np.concatenate(unproven)


def _blocks(left: Ints, dimension: int) -> list[Ints]:
    """Return queries in blocks of equal size."""
    size = _block_size(dimension)
    rest = left[size:]
    others = np.array_split(rest, max(1, len(rest) // size)) if len(rest) else []
    return [left[:size], *others]


def _block_size(dimension: int) -> int:
    return max(_BLOCK, _FAST // dimension)


def _widths(k: int, size: int) -> list[int]:
    """Return how many candidates to try, in turn, in a piece of `size` rows."""
    widths = [min(size, k + 4 + k // 16)]
    while widths[-1] * _WIDER * _MOST <= size:
        widths.append(widths[-1] * _WIDER)
    return widths


def _piece_size(queries: Array, gallery: Array, k: int, budget: int) -> int:
    """Return how many gallery rows to filter at once; 0: it does not pay."""
    dimension = queries.shape[1]
    lists = 4 * _WIDER * k * min(2 * _block_size(dimension), len(queries)) * _ENTRY_BYTES
    size = min(len(gallery), (budget - _FIXED_BYTES - lists) // (8 * (dimension + 2)))
    pays = size >= _MOST * k and dimension <= _MOST_DIMENSION
    return size if pays and len(queries) >= _FEWEST else 0


def _chunks(rows: Array) -> Iterator[slice]:
    """Yield slices of rows whose float64 copies stay in the cache."""
    return spans(len(rows), max(1, _CHUNK // rows.shape[1]))
