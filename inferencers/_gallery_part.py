"""A part of the gallery, and how it is searched."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from milepost.inferencers._compared_labels import Ints
from milepost.neighbors import AnyDistance, Array, DistanceMeasure, backend_of, memory_budget


@dataclass(frozen=True)
class GalleryPart:
    """A block of one worker's gallery rows, sorted by id.

    Attributes:
        ids: shape (G,).
        embeddings: shape (G, d), as they are collected.
        codes: int64 (G,), label codes.
        groups: int64 (G,), group codes; none if there are no groups.
        objects: int64 (G,), which object each row is of; none if rows rank by themselves.
    """

    ids: npt.NDArray[Any]
    embeddings: Array
    codes: Ints
    groups: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    objects: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def pieces(self, copy_bytes: int, max_memory_bytes: int | None) -> Iterator["GalleryPart"]:
        """Yield the part with float32 embeddings, in pieces where the search needs a copy of it.

        Args:
            copy_bytes: what the copy of a number takes; 0: there is none.
            max_memory_bytes: the budget, of which a quarter is for the copy.
        """
        rows, size = self.embeddings, len(self.ids)
        if copy_bytes:
            row_bytes = copy_bytes * max(1, rows.shape[1])
            size = memory_budget(max_memory_bytes, rows) // 4 // row_bytes
        for s in spans(len(self.ids), max(1, size)):
            piece = rows if s.stop - s.start == len(rows) else rows[s]
            others = self.codes[s], self.groups[s], self.objects[s]
            yield GalleryPart(self.ids[s], widened(piece), *others)


@dataclass(frozen=True)
class SearchOptions:
    """How queries are searched.

    Attributes:
        distance: what scores are made of.
        leave_out_copies: whether a gallery row with a query's id is the query itself.
        max_memory_bytes: the budget; None: a quarter of what is available.
        scored: whether the scores of neighbours are asked for, not only their order.
        kept: how many neighbours of a query are kept.
    """

    distance: AnyDistance
    leave_out_copies: bool
    max_memory_bytes: int | None
    scored: bool = False
    kept: int = 0

    def copy_bytes(self, rows: Array) -> int:
        """Return the bytes that a copy of a number takes, if the search of rows needs one."""
        is_half, is_measure = rows.itemsize < 4, isinstance(self.distance, DistanceMeasure)
        return 4 * (int(is_half) + int(is_measure))


def half_of(max_memory_bytes: int | None) -> int | None:
    """Return half a budget, for blocks of scores; the other half is for lists."""
    return None if max_memory_bytes is None else max(1, max_memory_bytes // 2)


def widened(rows: Array) -> Array:
    """Return rows as float32: themselves where they are, which a search makes use of."""
    return rows if rows.itemsize == 4 else backend_of(rows).rows32(rows)


def spans(total: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` rows that cover `total` rows."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))
