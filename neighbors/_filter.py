"""A float32 filter in front of the search: few candidates are scored, the result is proven exact.

A float32 product, which the module `_product_form` bounds, finds the best candidates of each query,
some more than k. Those that may be among the k best are scored as the module `_score` defines it.
What was not scored has a product of at most that of the next candidate, so its score is below that
product + its error. If the k-th best score is above this bound, no other row can be among the k
best: the query is settled. If not (equal and nearly equal vectors), more candidates are tried, and
at last the query is left to the search that scores all.

Where only the order is asked for, candidates whose products are farther apart than twice the error
are in order as they are; only the others are scored.
"""

from collections.abc import Iterator
from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt

from milepost.neighbors._backend import Array, Backend, backend_of
from milepost.neighbors._best_products import number_collected
from milepost.neighbors._blocks import prepared_rows, spans
from milepost.neighbors._product_form import ProductForm, QueryForm
from milepost.neighbors._rank_keys import NOTHING, merged, rank_keys
from milepost.neighbors._score import Distance, pair_scores_of, prepare, score_lists

Ints = npt.NDArray[np.int64]

_WIDER = 4  # times as many candidates in the next try
_MOST = 16  # a list has at most this part of the gallery; more candidates do not pay
_MOST_DOUBT = 1 / 3  # of candidates; with more of them scoring whole lists is quicker
_BLOCK = 1024  # queries; the first block finds how many candidates it takes
_CHUNK = 1 << 17  # numbers gathered at once: 1 MiB of float64
_FIXED_BYTES = 32 << 20  # the product's own blocks
_ENTRY_BYTES = 48
_COLLECTED_BYTES = 10
_FEWEST = 64  # queries for which it pays to prepare the gallery
_FAST = 1 << 17  # numbers in a block of queries; with fewer, faiss leaves its fast path
_MOST_DIMENSION = 1 << 16


class _Lists(NamedTuple):
    """The positions of some queries, with what `best_products` finds for them, if that is known."""

    queries: Ints
    best: tuple[Array, Array] | None


class _Found(NamedTuple):
    """Candidates, and which queries they settle."""

    keys: Array
    proven: Array


class _Candidates(NamedTuple):
    """Rows with the largest products, descending.

    Attributes:
        queries: prepared rows, float32 (Q, d).
        form: the queries as the product has them.
        products: float64 (Q, W).
        positions: int64 (Q, W), in the piece.
        own: bool (Q, W), whether the query leaves the row out.
        last: the column that surely is the k-th or a later one of those not left out.
    """

    queries: Array
    form: QueryForm
    products: Array
    positions: Array
    own: Array
    last: int


@final
class Filter:
    """The gallery as it is filtered.

    Args:
        gallery: float32 (G, d), a piece of the gallery.
        start: the position of its first row.
        distance: what the score is made of.
        backend: what owns the arrays.
        scored: whether keys need scores; if not, they may hold products where these tell the order.
    """

    def __init__(
        self, gallery: Array, start: int, distance: Distance, backend: Backend, *, scored: bool
    ) -> None:
        self._start, self._distance, self._backend = start, distance, backend
        self._gallery = gallery
        self._rows = prepared_rows(gallery, distance, backend)  # what scores are made of
        self._form = ProductForm(self._rows, distance, backend)
        self._scored = scored

    def lists(self, queries: Array, left: Ints, width: int, room: int) -> Iterator[_Lists]:
        """Yield blocks of queries with their largest products, if these come from the gallery's own.

        Args:
            queries: float32 (Q, d).
            left: the positions of those that are searched.
            width: candidates a query, at most G.
            room: bytes for candidates.
        """
        total = len(self._rows)
        is_within = queries is self._gallery and len(left) == total and self._distance != "l2"
        if is_within and total * number_collected(width, total) * _COLLECTED_BYTES <= room:
            for block, *best in self._backend.best_products_within(self._form.rows, width):
                yield _Lists(self._backend.numpy(self._form.order[block]), tuple(best))
        else:
            for block in _blocks(left, queries.shape[1]):
                yield _Lists(block, None)

    def nearest(
        self,
        queries: Array,
        exclude: Array,
        k: int,
        width: int,
        best: tuple[Array, Array] | None = None,
    ) -> _Found:
        """Return the keys of the k best of `width` candidates, and whether they are proven.

        Args:
            queries: float32 (Q, d).
            exclude: int64 (Q,), the position that a query leaves out; others are no position.
            k: below `width`, or `width` is all there are.
            width: candidates a query, at most G.
            best: what `best_products` finds, if that is known.
        """
        found = self._candidates(queries, exclude, k, width, best)
        result = None if self._scored else self._in_order(found, k)
        return result or self._by_score(found, k)

    def _candidates(
        self,
        queries: Array,
        exclude: Array,
        k: int,
        width: int,
        best: tuple[Array, Array] | None,
    ) -> _Candidates:
        prepared = prepare(queries, self._distance, self._backend)
        form = self._form.of_queries(prepared)
        products, places = best or self._backend.best_products(form.rows, self._form.rows, width)
        positions = self._form.order[places]
        own = positions + self._start == exclude[:, None]
        last = min(k + int(bool(own.any())), width) - 1
        products = self._backend.float64(products)
        return _Candidates(prepared, form, products, positions, own, last)

    def _by_score(self, found: _Candidates, k: int) -> _Found:
        """Score the candidates that may be among the k best."""
        backend, width = self._backend, found.products.shape[1]
        least = found.products[:, found.last] - 2 * found.form.error
        more = (found.products[:, found.last + 1 :] >= least[:, None]).sum(axis=1)
        is_all = width == len(self._rows)
        depth = width if is_all else found.last + 1 + int(more.max())
        positions = found.positions[:, :depth]
        scores = backend.concat(
            [
                score_lists(found.queries[s], self._rows, positions[s], self._distance, backend)
                for s in spans(len(positions), max(1, _CHUNK // (depth * self._rows.shape[1])))
            ],
            axis=0,
        )
        keys = self._best_keys(scores, found, k)
        if is_all:
            return _Found(keys, positions[:, 0] >= 0)
        next_best = found.products[:, min(depth, width - 1)]
        bound = self._form.scores(next_best + found.form.error - found.form.excess)
        highest = rank_keys(bound[:, None], positions[:, :1] * 0, backend)[:, 0]
        return _Found(keys, (keys[:, -1] > highest) & (bound < np.inf) & found.form.bounded)

    def _in_order(self, found: _Candidates, k: int) -> _Found | None:
        """Score only the candidates that the product leaves in doubt; None if they are many."""
        backend, products = self._backend, found.products
        close = products[:, :-1] - products[:, 1:] <= 2 * found.form.error[:, None]
        doubt = found.own & False
        doubt[:, 1:] |= close
        doubt[:, :-1] |= close
        if backend.count(doubt) > _MOST_DOUBT * len(doubt) * doubt.shape[1]:
            return None
        scores = self._form.scores(products - found.form.excess[:, None])
        i, j = backend.positions(doubt)
        pairs = found.queries, self._rows, i, found.positions[i, j]
        scores[i, j] = pair_scores_of(*pairs, self._distance, backend)
        apart = (~close[:, found.last :]).any(axis=1)  # the k best from the rows not listed
        return _Found(self._best_keys(scores, found, k), apart & found.form.ordinary)

    def _best_keys(self, scores: Array, found: _Candidates, k: int) -> Array:
        depth = scores.shape[1]
        keys = rank_keys(scores, found.positions[:, :depth] + self._start, self._backend)
        keys[found.own[:, :depth]] = NOTHING
        return self._backend.largest(keys, min(k, depth))


def filtered_search(
    queries: Array,
    gallery: Array,
    best: Array,
    *,
    distance: Distance,
    exclude: Array,
    budget: int,
    scored: bool,
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
        scored: whether keys need scores, or only their order, if the gallery fits the budget.
    """
    backend, k = backend_of(queries), best.shape[1]
    settled = np.ones(len(queries), np.bool_)
    room = _room(queries, k, budget)
    size = _piece_size(queries, gallery, k, room)
    for piece in spans(len(gallery) if size else 0, max(1, size)):
        alone = size >= len(gallery)
        part = gallery if alone else gallery[piece]
        rows = Filter(part, piece.start, distance, backend, scored=scored or not alone)
        left_over = room - _row_bytes(gallery) * len(part)
        (left,) = np.nonzero(settled)
        for width in _widths(k, len(part)):
            if len(left) < _FEWEST:
                break
            left = _settle(rows, left, queries, exclude, best, width, left_over, backend)
        settled[left] = False
    return np.flatnonzero(~settled) if size else np.arange(len(queries))


def _settle(
    gallery: Filter,
    left: Ints,
    queries: Array,
    exclude: Array,
    best: Array,
    width: int,
    room: int,
    backend: Backend,
) -> Ints:
    """Merge what is proven with lists of `width` into `best`; return the other positions.

    A width that settles less than half of the first queries is given up.
    """
    unproven = np.zeros(len(queries), np.bool_)
    unproven[left] = True
    for number, (block, listed) in enumerate(gallery.lists(queries, left, width, room)):
        rows = backend.array(block, like=best)
        found = gallery.nearest(queries[rows], exclude[rows], best.shape[1], width, listed)
        proven = backend.numpy(found.proven)
        done = rows[found.proven]
        best[done] = merged(best[done], found.keys[found.proven], best.shape[1], backend)
        unproven[block[proven]] = False
        if number == 0 and 2 * proven.sum() < len(block):
            break
    return np.flatnonzero(unproven)


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


def _room(queries: Array, k: int, budget: int) -> int:
    """Return the bytes that are left beside the lists of a block of queries."""
    block = min(2 * _block_size(queries.shape[1]), len(queries))
    return budget - _FIXED_BYTES - 4 * _WIDER * k * block * _ENTRY_BYTES


def _row_bytes(gallery: Array) -> int:
    return 8 * (int(gallery.shape[1]) + 2)


def _piece_size(queries: Array, gallery: Array, k: int, room: int) -> int:
    """Return how many gallery rows to filter at once; 0: it does not pay."""
    size = min(len(gallery), room // _row_bytes(gallery))
    pays = size >= _MOST * k and gallery.shape[1] <= _MOST_DIMENSION
    return size if pays and len(queries) >= _FEWEST else 0
