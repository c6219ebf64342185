"""Galleries in which most rows are repeated: each different row is compared once.

Equal scores are many there, so that a float32 product tells little of the order. Of rows that are
equal the first positions rank first; the k nearest are among the first k members of the k nearest
different rows. Q and G are the numbers of queries and of gallery rows, U that of different rows.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._blocks import prepared_rows
from milepost.neighbors._rank_keys import NOTHING, Neighbors, rank_keys
from milepost.neighbors._score import Scored

_LOOKED_AT = 64  # rows that tell whether to look at all
_MOST = 0.5  # of the rows may be different


class Repeated(NamedTuple):
    """A gallery by its different rows.

    Attributes:
        rows: float32 (U, d), each as it is first met.
        members: int64 (U, M), the first positions of each in the gallery, ascending; -1: no more.
    """

    rows: Array
    members: Array

    def keys(self, found: Neighbors, exclude: Array, k: int, backend: Backend) -> Array:
        """Return the keys of the `k` nearest gallery rows, int64 (Q, k).

        Args:
            found: the k + 1 nearest of `rows`, or all of them.
            exclude: int64 (Q,), the position that a query leaves out, or -1.
            k: neighbours a query.
            backend: what owns the arrays.
        """
        positions = self.members[found.indices]
        first = rank_keys(found.scores, found.indices * 0, backend)  # as if at position 0
        keys = first[:, :, None] - positions
        keys[(positions < 0) | (positions == exclude[:, None, None])] = NOTHING
        return backend.largest(keys.reshape(len(keys), -1), k)


def repeated(
    gallery: Array, k: int, distance: Scored, budget: int, backend: Backend
) -> Repeated | None:
    """Return a gallery by its different rows, if they are few and the budget has room to tell.

    Memory: 16 bytes a number of the gallery, where a sample of it has few different rows.

    Args:
        gallery: float32 (G, d).
        k: neighbours a query.
        distance: what rows are compared by: for the cosine, rows of one direction are equal.
        budget: bytes.
        backend: what owns the arrays.
    """
    step = max(1, len(gallery) // _LOOKED_AT)
    few = prepared_rows(gallery[::step], distance, backend)
    many = len(backend.unique_rows(few)[0]) > _MOST * len(few)
    if many or 16 * len(gallery) * gallery.shape[1] > budget:
        return None
    prepared = prepared_rows(gallery, distance, backend)
    different, found = backend.unique_rows(prepared)
    row_of, size = backend.numpy(found), len(different)
    members = _members(row_of, size, k + 1)
    if size > _MOST * len(gallery) or min(k + 1, size) * members.shape[1] > max(len(gallery), 64):
        return None
    members = members[np.argsort(members[:, 0])]
    first = backend.array(members[:, 0], like=gallery)
    return Repeated(gallery[first], backend.array(members, like=gallery))


def _members(row_of: npt.NDArray[np.int64], size: int, most: int) -> npt.NDArray[np.int64]:
    """Return the first positions at which each of `size` values occurs, (size, M), -1 after them.

    M is the largest count, and at most `most`.
    """
    order = np.argsort(row_of, kind="stable")
    counts = np.bincount(row_of, minlength=size)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    members = np.full((size, min(most, int(counts.max()))), -1)
    kept = rank < members.shape[1]
    members[row_of[order][kept], rank[kept]] = order[kept]
    return members
