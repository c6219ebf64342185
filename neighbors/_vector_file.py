"""Vectors as they lie in a file: float32 rows, little endian."""

from collections.abc import Iterable
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from milepost.neighbors._backend import Array, backend_of
from milepost.neighbors._index_file import IndexFile, Write

FLOAT32 = np.dtype("<f4")
_BLOCK_BYTES = 1 << 24


def write_vectors(parts: Iterable[Array], write: Write) -> None:
    """Write float32 rows of any library, a block at a time."""
    for part in parts:
        step = max(1, _BLOCK_BYTES // (4 * part.shape[1]))
        for start in range(0, len(part), step):
            block = backend_of(part).numpy(part[start : start + step])
            write(np.ascontiguousarray(block, FLOAT32))


def read_vectors(file: IndexFile) -> npt.NDArray[np.float32]:
    """Return the rows of a file, in memory."""
    start, _ = file.place("vectors")
    shape = file.header["count"], file.header["dimension"]
    with file.path.open("rb") as opened:
        return np.array(map_rows(opened, start, shape), np.float32)


def map_rows(file: IO[Any], offset: int, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return rows of an open file, mapped: what is written to them does not reach the file."""
    return np.memmap(file, FLOAT32, "c", offset, shape)
