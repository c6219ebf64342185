"""Exact search of a gallery on disk, which may be larger than memory."""

import os
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, final

import numpy as np
import numpy.typing as npt

from milepost.neighbors._backend import Array
from milepost.neighbors._blocks import memory_budget
from milepost.neighbors._index_file import IndexFile, Write
from milepost.neighbors._indexer import (
    FilePath,
    Indexer,
    NearestNeighbors,
    as_distances,
    nearest_of,
)
from milepost.neighbors._score import Distance
from milepost.neighbors._search import search
from milepost.neighbors._vector_file import FLOAT32, map_rows, write_vectors

_MAPPED_SHARE = 4  # of the budget, for the block that is mapped
_SEARCH_SHARE = 2  # of the budget, for the search in it
_LARGEST_BLOCK_BYTES = 1 << 28


@dataclass
class _Segment:
    """Rows in a file, from a byte on."""

    file: IO[Any]
    offset: int
    count: int


@final
class DiskIndexer(Indexer):
    """Keeps the embeddings in a file, maps a block of them at a time, and searches it exactly.

    What is added is appended to a nameless file, which goes when the index does. A loaded index
    stays in its own file, which is only read; what is added to it goes to the nameless one. Keep
    the loaded file as it is; it may be replaced, as `save` does it.

    The result is that of `ExactIndexer`, to the bit. Memory: under `max_memory_bytes`, plus the
    result; adding and saving take that of one block. Each search reads the gallery once.

    Args:
        metric: `"l2"` (squared Euclidean distance), `"dot"` or `"cosine"`.
        folder: where the nameless file lies; None: where the system puts temporary files, which
            may be in memory.
        max_memory_bytes: what a search may use; None: a quarter of what is free.

    Example:
        >>> indexer = DiskIndexer(max_memory_bytes=1 << 20)
        >>> indexer.add(np.array([[0.0], [1.0]]))
        >>> indexer.add(np.array([[3.0]]))
        >>> indexer.search(np.array([[2.5]]), k=2).indices
        array([[2, 1]])
    """

    kind = "disk"

    def __init__(
        self,
        metric: Distance = "l2",
        *,
        folder: FilePath | None = None,
        max_memory_bytes: int | None = None,
    ) -> None:
        super().__init__(metric)
        self._folder = folder
        self._max_memory_bytes = max_memory_bytes
        self._segments: list[_Segment] = []
        self._scratch: _Segment | None = None

    def __len__(self) -> int:
        return sum(segment.count for segment in self._segments)

    def truncate(self, count: int) -> None:
        """Forget the embeddings from this position on: those of an addition that failed."""
        for segment in reversed(self._segments):
            dropped = min(segment.count, max(0, len(self) - count))
            segment.count -= dropped
        if not len(self):
            self.reset()

    def _learn(self, rows: Array) -> None:
        self._clear()  # there is nothing to learn

    def _append(self, rows: npt.NDArray[np.float32]) -> None:
        if self._scratch is None:
            file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115, open as long as we are
            self._scratch = self._open(file, 0, 0)
        scratch = self._scratch
        scratch.file.seek(scratch.count * rows.shape[1] * FLOAT32.itemsize)
        write_vectors([rows], scratch.file.write)
        scratch.file.flush()
        scratch.count += len(rows)

    def _open(self, file: IO[Any], offset: int, count: int) -> _Segment:
        weakref.finalize(self, file.close)
        self._segments.append(_Segment(file, offset, count))
        return self._segments[-1]

    def _blocks(self, rows: int) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Give the vectors in blocks of that many rows at most, each with its first position."""
        first = 0
        dimension = self.dimension or 0
        for segment in self._segments:
            for start in range(0, segment.count, rows):
                shape = min(rows, segment.count - start), dimension
                offset = segment.offset + start * dimension * FLOAT32.itemsize
                yield first + start, map_rows(segment.file, offset, shape)
            first += segment.count

    def _find(self, rows: npt.NDArray[np.float32], k: int) -> NearestNeighbors:
        budget = memory_budget(self._max_memory_bytes, rows)
        block_bytes = min(_LARGEST_BLOCK_BYTES, budget // _MAPPED_SHARE)
        best = NearestNeighbors(
            np.empty((len(rows), 0), np.int64), np.empty((len(rows), 0), np.float32)
        )
        for first, block in self._blocks(max(1, block_bytes // (4 * rows.shape[1]))):
            indices, scores = search(
                rows,
                block,
                k,
                distance=self.metric,
                max_memory_bytes=max(1, budget // _SEARCH_SHARE),
            )
            found = NearestNeighbors(indices + first, as_distances(scores, self.metric))
            best = nearest_of(best, found, k, self.metric)
        return best

    def _clear(self) -> None:
        for segment in self._segments:
            segment.file.close()
        self._segments, self._scratch = [], None

    def _write(self, write: Write) -> None:
        rows = max(1, _LARGEST_BLOCK_BYTES // (4 * (self.dimension or 1)))
        write_vectors((block for _, block in self._blocks(rows)), write)

    def _read(self, file: IndexFile) -> None:
        opened = open(os.fspath(file.path), "rb")  # noqa: SIM115, open as long as we are
        self._clear()
        self._open(opened, file.place("vectors")[0], int(file.header["count"]))
