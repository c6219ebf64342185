"""A float32 filter in front of the search: few candidates are scored, the result is proven exact.

A float32 product, which the module `_product_form` bounds, finds the best candidates of each query,
some more than k. Those that may be among the k best are scored as the module `_score` defines it.
What was not scored has a product of at most that of the next candidate, so its score is below that
product + its error. If the k-th best score is above this bound, no other row can be among the k
best: the query is settled.

Where only the order is asked for, candidates whose products are farther apart than twice the error
are in order as they are; only the others are scored.
"""

from collections.abc import Iterator
from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt

from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._blocks import prepared_rows, spans
from milepost.neighbors._product_form import ProductForm, QueryForm
from milepost.neighbors._rank_keys import NOTHING, rank_keys
from milepost.neighbors._score import Distance, pair_scores_of, prepare, score_lists

Ints = npt.NDArray[np.int64]

_MOST_DOUBT = 1 / 3  # of candidates; with more of them scoring whole lists is quicker
_CHUNK = 1 << 17  # numbers gathered at once: 1 MiB of float64


class Lists(NamedTuple):
    """The positions of some queries, with what `best_products` finds for them, if that is known."""

    queries: Ints
    best: tuple[Array, Array, int] | None


class Found(NamedTuple):
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
        error: float64 (Q,), how far from the exact one a product may be.
        own: bool (Q, W), whether the query leaves the row out.
        last: the column that surely is the k-th or a later one of those not left out.
    """

    queries: Array
    form: QueryForm
    products: Array
    positions: Array
    error: Array
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

    Attributes:
        size: G.
    """

    def __init__(
        self, gallery: Array, start: int, distance: Distance, backend: Backend, *, scored: bool
    ) -> None:
        self._start, self._distance, self._backend = start, distance, backend
        self._rows = prepared_rows(gallery, distance, backend)  # what scores are made of
        self._form = ProductForm(self._rows, distance, backend)
        self._scored = scored
        self.size = len(gallery)

    def lists_of_its_own(self, width: int) -> Iterator[Lists]:
        """Yield blocks of the gallery's own rows with what `best_products` finds for them."""
        for block, best in self._backend.best_products_within(self._form.rows, width):
            yield Lists(self._backend.numpy(self._form.order[block]), best)

    def nearest(
        self,
        queries: Array,
        exclude: Array,
        k: int,
        width: int,
        best: tuple[Array, Array, int] | None = None,
    ) -> Found:
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
        best: tuple[Array, Array, int] | None,
    ) -> _Candidates:
        prepared = prepare(queries, self._distance, self._backend)
        form = self._form.of_queries(prepared)
        best = best or self._backend.best_products(form.rows, self._form.rows, width)
        products, places, roundings = best
        positions = self._form.order[places]
        own = positions + self._start == exclude[:, None]
        last = min(k + int(bool(own.any())), width) - 1
        products = self._backend.float64(products)
        error = form.error(roundings)
        return _Candidates(prepared, form, products, positions, error, own, last)

    def _by_score(self, found: _Candidates, k: int) -> Found:
        """Score the candidates that may be among the k best."""
        backend, width = self._backend, found.products.shape[1]
        least = found.products[:, found.last] - 2 * found.error
        more = (found.products[:, found.last + 1 :] >= least[:, None]).sum(axis=1)
        is_all = width == self.size
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
            return Found(keys, positions[:, 0] >= 0)
        next_best = found.products[:, min(depth, width - 1)]
        bound = self._form.scores(next_best + found.error - found.form.excess)
        highest = rank_keys(bound[:, None], positions[:, :1] * 0, backend)[:, 0]
        return Found(keys, (keys[:, -1] > highest) & (bound < np.inf) & found.form.bounded)

    def _in_order(self, found: _Candidates, k: int) -> Found | None:
        """Score only the candidates that the product leaves in doubt; None if they are many."""
        backend, products = self._backend, found.products
        close = products[:, :-1] - products[:, 1:] <= 2 * found.error[:, None]
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
        return Found(self._best_keys(scores, found, k), apart & found.form.ordinary)

    def _best_keys(self, scores: Array, found: _Candidates, k: int) -> Array:
        depth = scores.shape[1]
        keys = rank_keys(scores, found.positions[:, :depth] + self._start, self._backend)
        keys[found.own[:, :depth]] = NOTHING
        return self._backend.largest(keys, min(k, depth))
