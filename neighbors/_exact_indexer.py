"""Exact search of embeddings in memory, on the device where they are."""

from typing import Any, final

from milepost.neighbors._backend import Array, backend_of
from milepost.neighbors._index_file import IndexFile, Write
from milepost.neighbors._indexer import Indexer, NearestNeighbors, as_distances, like_array
from milepost.neighbors._score import Distance
from milepost.neighbors._search import search
from milepost.neighbors._vector_file import read_vectors, write_vectors


@final
class ExactIndexer(Indexer):
    """Keeps the embeddings where the first of them are: NumPy's memory, or a torch device.

    The search is `neighbors.search`: exact, equal distances by position, the same to the bit on
    every device. Memory: 4 d bytes an embedding, twice that while a search follows an addition.

    Args:
        metric: `"l2"` (squared Euclidean distance), `"dot"` or `"cosine"`.
        device: a torch device that keeps and searches them; None: where the first ones are.
        max_memory_bytes: what a search may use; None: a quarter of what is free there.

    Example:
        >>> import numpy as np
        >>> indexer = ExactIndexer()
        >>> indexer.add(np.array([[0.0], [1.0], [3.0]]))
        >>> indexer.search(np.array([[0.9]]), k=2).indices
        array([[1, 0]])
    """

    kind = "exact"
    arrays = "native"

    def __init__(
        self,
        metric: Distance = "l2",
        *,
        device: Any = None,
        max_memory_bytes: int | None = None,
    ) -> None:
        super().__init__(metric)
        self._device = device
        self._max_memory_bytes = max_memory_bytes
        self._parts: list[Array] = []

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def _learn(self, rows: Array) -> None:
        self._clear()  # there is nothing to learn

    def _append(self, rows: Array) -> None:
        rows = backend_of(rows).copy(rows)
        self._parts.append(like_array(rows, self._parts[0]) if self._parts else self._home(rows))

    def _home(self, rows: Array) -> Array:
        if self._device is None:
            return rows
        from milepost.neighbors._torch_device import on_device

        return on_device(rows, self._device)

    def _gallery(self) -> Array:
        if len(self._parts) > 1:
            self._parts = [backend_of(self._parts[0]).concat(self._parts, axis=0)]
        return self._parts[0]

    def _find(self, rows: Array, k: int) -> NearestNeighbors:
        gallery = self._gallery()
        queries = like_array(rows, gallery)
        indices, scores = search(
            queries, gallery, k, distance=self.metric, max_memory_bytes=self._max_memory_bytes
        )
        return NearestNeighbors(indices, as_distances(scores, self.metric))

    def _clear(self) -> None:
        self._parts = []

    def _write(self, write: Write) -> None:
        write_vectors(self._parts, write)

    def _read(self, file: IndexFile) -> None:
        self._parts = [self._home(read_vectors(file))]
