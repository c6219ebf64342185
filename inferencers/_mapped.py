"""Rows in memory-mapped files that vanish with their last array."""

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from milepost.neighbors import Array, backend_of

_BLOCK = 1 << 12  # rows

Numbers = npt.NDArray[Any]


def mapped(parts: list[Array]) -> Numbers:
    """Return NumPy rows joined in a file; `parts` is emptied as they are copied."""
    rows = _new(sum(map(len, parts)), parts[0])
    start = 0
    while parts:
        part = parts.pop(0)
        rows[start : start + len(part)] = part
        start += len(part)
    return rows


def joined(parts: list[Array], order: npt.NDArray[np.int64]) -> Array:
    """Return the rows of all parts in an order, in a file if any part is; `parts` is emptied."""
    if not any(isinstance(part, np.memmap) for part in parts):
        rows = backend_of(*parts).concat(parts, axis=0)
        parts.clear()
        return rows[backend_of(rows).array(order, like=rows)]
    result = _new(len(order), parts[0])
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    start = 0
    while parts:
        part = parts.pop(0)
        result[place[start : start + len(part)]] = part
        start += len(part)
    return result


def changed(rows: Array, change: Callable[[Array], Array]) -> Array:
    """Return what a function gives for blocks of rows, in a file if they are in one."""
    if not isinstance(rows, np.memmap):
        blocks = [change(rows[s]) for s in _blocks(len(rows))]
        return backend_of(rows).concat(blocks, axis=0)
    result: Numbers | None = None
    for s in _blocks(len(rows)):
        block = change(rows[s])
        result = _new(len(rows), block) if result is None else result
        result[s] = block
    return result


def largest(rows: Array) -> float:
    """Return the largest magnitude of a number in the rows, 0 where there are none."""
    backend = backend_of(rows)
    return max((float(abs(backend.rows32(rows[s])).max()) for s in _blocks(len(rows))), default=0.0)


def _blocks(total: int) -> Iterator[slice]:
    for start in range(0, total, _BLOCK):
        yield slice(start, start + _BLOCK)


def _new(rows: int, like: Numbers) -> Numbers:
    shape = rows, like.shape[1]
    with tempfile.TemporaryFile(prefix="milepost-") as file:
        file.truncate(like.itemsize * rows * like.shape[1])
        result: Numbers = np.memmap(file, like.dtype, "r+", shape=shape)
    return result
