"""Float32 rows in memory-mapped files that vanish with their last array."""

import tempfile

import numpy as np
import numpy.typing as npt

from milepost.neighbors import Array, backend_of

Floats = npt.NDArray[np.float32]


def mapped(parts: list[Array]) -> Floats:
    """Return NumPy rows joined in a file; `parts` is emptied as they are copied."""
    rows = _new(sum(map(len, parts)), parts[0].shape[1])
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
    result = _new(len(order), parts[0].shape[1])
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    start = 0
    while parts:
        part = parts.pop(0)
        result[place[start : start + len(part)]] = part
        start += len(part)
    return result


def _new(rows: int, dimension: int) -> Floats:
    with tempfile.TemporaryFile(prefix="milepost-") as file:
        file.truncate(4 * rows * dimension)
        result: Floats = np.memmap(file, np.float32, "r+", shape=(rows, dimension))
    return result
