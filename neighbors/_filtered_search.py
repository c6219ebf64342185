"""The search behind the filter: candidates are tried, more of them where they settle too little.

A query that the filter does not settle (equal and nearly equal vectors) is tried with more
candidates, and at last left to the search that scores all.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from milepost.neighbors._backend import Array, Backend, backend_of
from milepost.neighbors._best_products import number_collected
from milepost.neighbors._blocks import spans
from milepost.neighbors._filter import Filter, Lists
from milepost.neighbors._rank_keys import merged
from milepost.neighbors._score import Distance

Ints = npt.NDArray[np.int64]

_WIDER = 4  # times as many candidates in the next try
_MOST = 4  # a list has at most this part of the gallery
_MOST_WIDER = 16  # a longer list in a next try has at most this part; longer ones do not pay
_BLOCK = 1024  # queries; the first block finds how many candidates it takes
_FIXED_BYTES = 32 << 20  # the product's own blocks
_ENTRY_BYTES = 48
_COLLECTED_BYTES = 10
_FEWEST = 64  # queries for which it pays to prepare the gallery
_FAST = 1 << 17  # numbers in a block of queries; with fewer, faiss leaves its fast path
_MOST_DIMENSION = 1 << 16


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
    alone = size >= len(gallery)
    for piece in spans(len(gallery) if size else 0, max(1, size)):
        rows = Filter(gallery[piece], piece.start, distance, backend, scored=scored or not alone)
        is_within = alone and queries is gallery and distance != "l2"
        left_over = room - _row_bytes(gallery) * rows.size if is_within else 0
        (left,) = np.nonzero(settled)
        for width in _widths(k, rows.size):
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
    for number, (block, listed) in enumerate(_lists(gallery, queries, left, width, room)):
        rows = backend.array(block, like=best)
        found = gallery.nearest(queries[rows], exclude[rows], best.shape[1], width, listed)
        proven = backend.numpy(found.proven)
        done = rows[found.proven]
        best[done] = merged(best[done], found.keys[found.proven], best.shape[1], backend)
        unproven[block[proven]] = False
        if number == 0 and 2 * proven.sum() < len(block):
            break
    return np.flatnonzero(unproven)


def _lists(gallery: Filter, queries: Array, left: Ints, width: int, room: int) -> Iterator[Lists]:
    """Yield blocks of queries, with their lists where these are the gallery's own rows.

    Args:
        gallery: what is searched.
        queries: float32 (Q, d).
        left: the positions of those that are searched.
        width: candidates a query.
        room: bytes for candidates of all the gallery's rows; 0: queries are others.
    """
    size = gallery.size
    if len(left) == size and size * number_collected(width, size) * _COLLECTED_BYTES <= room:
        yield from gallery.lists_of_its_own(width)
    else:
        yield from (Lists(block, None) for block in _blocks(left, queries.shape[1]))


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
    while widths[-1] * _WIDER * _MOST_WIDER <= size:
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
