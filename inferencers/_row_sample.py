"""A sample of rows that does not depend on their order, nor on who holds them."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]

_MULTIPLIERS = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)
_BASE = np.uint64(0x9E3779B97F4A7C15)


@final
class RowSample:
    """Keeps the rows whose ids have the smallest hash: all rows where there are no more.

    A row is in the sample or not whatever the batches, their order and the workers.
    Memory: twice `most` rows, and a batch.

    Args:
        most: the size of the sample.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: list[Columns] = []
        self._size = 0
        self._is_sorted = True

    def add(self, columns: Columns) -> None:
        """Offer rows, which are copied.

        Args:
            columns: `"id"` (N,), integers or strings, and others with the same first axis.
        """
        self._parts.append({name: np.array(column) for name, column in columns.items()})
        self._size += len(columns["id"])
        self._is_sorted = False
        if self._size > 2 * self._most:
            self._keep()

    def rows(self) -> Columns:
        """Return the sample, sorted by id; nothing at all if no row was offered."""
        if not self._is_sorted:
            self._keep()
            rows = _joined(self._parts)
            order = np.argsort(rows["id"], kind="stable")
            self._parts = [{name: column[order] for name, column in rows.items()}]
            self._is_sorted = True
        return self._parts[0] if self._parts else {}

    def _keep(self) -> None:
        rows = _joined(self._parts)
        if self._size > self._most:
            first = np.lexsort((rows["id"], hashes(rows["id"])))[: self._most]
            rows = {name: column[first] for name, column in rows.items()}
        self._parts = [rows]
        self._size = len(rows["id"])


def hashes(ids: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a hash of each id, whatever the width of its string.

    The finalizer of splitmix64 (Steele et al., OOPSLA 2014), over a polynomial of the characters.
    """
    if ids.dtype.kind == "U":
        width = ids.dtype.itemsize // 4
        characters = np.ascontiguousarray(ids).view(np.uint32).reshape(len(ids), width)
        values = np.zeros(len(ids), np.uint64)
        for at in range(width - 1, -1, -1):  # trailing zeros of a wider type change nothing
            values = values * _BASE + characters[:, at]
    else:
        values = ids.astype(np.int64).view(np.uint64)
    values = values + _BASE
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        values = (values ^ (values >> np.uint64(shift))) * multiplier
    result: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return result


def _joined(parts: list[Columns]) -> Columns:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
