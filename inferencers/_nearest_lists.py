"""The nearest gallery rows of queries, found part by part."""

from typing import Any, final

import numpy as np
import numpy.typing as npt

from milepost.neighbors import Neighbors


@final
class NearestLists:
    """Keeps the nearest of all rows offered, by score and, where scores are equal, by id.

    The lists do not depend on how rows are split into parts, nor on the order of parts.
    Memory: 12 bytes and an id for each of Q x depth entries, five times that in a merge.

    Args:
        depth: the length of the lists; they are shorter where fewer rows were offered.

    Attributes:
        scores: float32 (Q, K), minus infinity where there is no neighbour.
        codes: int64 (Q, K), label codes, -1 where there is no neighbour.
    """

    def __init__(self, queries: int, depth: int) -> None:
        self._depth = depth
        self.scores = np.zeros((queries, 0), np.float32)
        none = np.zeros((queries, 0), np.int64)
        self._ids: tuple[npt.NDArray[Any], npt.NDArray[np.int64] | None] = none, None
        self.codes = np.zeros((queries, 0), np.int64)

    def offer(self, found: Neighbors, ids: npt.NDArray[Any], codes: npt.NDArray[np.int64]) -> None:
        """Merge what a search in one part found.

        Args:
            found: positions in the part, -1 for none, and scores, as NumPy arrays.
            ids: shape (G,), ascending, of the part's rows.
            codes: int64 (G,), label codes of the part's rows.
        """
        new_codes = np.append(codes, -1)[found.indices]
        if not self.codes.shape[1]:
            self.scores, self.codes = found.scores, new_codes
            self._ids = ids, found.indices
            return
        new: tuple[npt.NDArray[Any], ...] = found.scores, ids[found.indices], new_codes
        old: tuple[npt.NDArray[Any], ...] = (self.scores, self.ids, self.codes)
        joined = [np.concatenate(pair, axis=1) for pair in zip(old, new, strict=True)]
        scores, all_ids, all_codes = joined
        order = np.lexsort((all_ids, -scores, all_codes < 0), axis=-1)[:, : self._depth]
        joined = [np.take_along_axis(x, order, axis=1) for x in joined]
        self.scores, self._ids, self.codes = joined[0], (joined[1], None), joined[2]

    @property
    def ids(self) -> npt.NDArray[Any]:
        """(Q, K), of any value where there is no neighbour; gathered when they are asked for."""
        ids, positions = self._ids
        return ids if positions is None else ids[positions]

    def ids_at(
        self, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
    ) -> npt.NDArray[Any]:
        """Return the ids of some entries of the lists."""
        ids, positions = self._ids
        return ids[rows, columns] if positions is None else ids[positions[rows, columns]]


def list_entry_bytes(ids: npt.NDArray[Any]) -> int:
    """Return what an entry of the lists takes in a merge, for ids of such a type."""
    return 5 * (12 + max(8, ids.itemsize))
