"""Indexes of faiss, exact and approximate."""

import functools
import os
from typing import Any, final

import numpy as np
import numpy.typing as npt

from milepost.neighbors import _numpy
from milepost.neighbors._index_file import IndexFile, Write
from milepost.neighbors._indexer import Indexer, NearestNeighbors, as_distances, nearest_of
from milepost.neighbors._score import Distance, unit_rows
from milepost.neighbors._search import search

Rows = npt.NDArray[np.float32]


@final
class FaissIndexer(Indexer):
    """An index of faiss, made by its factory; by default `IndexFlatL2`.

    Distances are faiss's own, in float32, and may round otherwise in a batch of another size;
    equal ones that are found rank by position. For cosine, embeddings and queries are scaled to
    length 1. A query for which an approximate index finds fewer than k is searched again in all
    of its lists, so that k neighbours are always given. A loaded index brings its own factory.

    Memory: that of the index; for `"Flat"` 4 d bytes an embedding.

    Args:
        factory: what `faiss.index_factory` takes, such as `"Flat"`, `"IVF1024,Flat"`,
            `"HNSW32"`, `"OPQ16,IVF1024,PQ16"`.
        metric: `"l2"` (squared Euclidean distance), `"dot"` or `"cosine"`.
        parameters: what faiss's `ParameterSpace` takes, such as `"nprobe=16"`.
        gpu: whether to search on GPUs; None: if faiss has any and they can do it.

    Attributes:
        index: faiss's own index; None before the first embeddings.

    Example:
        >>> indexer = FaissIndexer()
        >>> indexer.add(np.array([[0.0], [1.0], [3.0]]))
        >>> indexer.search(np.array([[0.5]]), k=5)
        NearestNeighbors(indices=array([[0, 1, 2]]), distances=array([[0.25, 0.25, 6.25]], dtype=float32))
    """  # noqa: E501, a doctest's output

    kind = "faiss"

    def __init__(
        self,
        factory: str = "Flat",
        metric: Distance = "l2",
        *,
        parameters: str | None = None,
        gpu: bool | None = None,
    ) -> None:
        super().__init__(metric)
        self.index: Any = None
        self._factory = factory
        self._parameters = parameters
        self._gpu = gpu
        self._is_on_gpu = False

    def __len__(self) -> int:
        return int(self.index.ntotal) if self.index is not None else 0

    def _make(self, dimension: int) -> Any:
        faiss = load_faiss()
        if self._factory == "Flat":
            flat = faiss.IndexFlatL2 if self.metric == "l2" else faiss.IndexFlatIP
            return self._placed(flat(dimension))
        kind = faiss.METRIC_L2 if self.metric == "l2" else faiss.METRIC_INNER_PRODUCT
        try:
            index = faiss.index_factory(dimension, self._factory, kind)
        except RuntimeError as error:
            msg = f"`factory` must be one of faiss's for dimension {dimension}, got {self._factory}"
            raise ValueError(msg) from error
        return self._placed(index)

    def _placed(self, index: Any) -> Any:
        """Return an index with its parameters set, on GPUs if they are to be used."""
        self._is_on_gpu = False
        faiss = load_faiss()
        if self._parameters:
            faiss.ParameterSpace().set_index_parameters(index, self._parameters)
        gpus = getattr(faiss, "get_num_gpus", lambda: 0)()
        if self._gpu and not gpus:
            msg = "`gpu` is True, but faiss has no GPU here; install a build of faiss that has"
            raise ValueError(msg)
        if self._gpu is False or not gpus:
            return index
        try:
            placed = faiss.index_cpu_to_all_gpus(index)
        except RuntimeError:
            if self._gpu:
                raise
            return index  # of a kind that GPUs do not have
        self._is_on_gpu = True
        return placed

    def _scaled(self, rows: Rows) -> Rows:
        scaled = unit_rows(rows, _numpy) if self.metric == "cosine" else rows
        return np.ascontiguousarray(scaled, np.float32)

    def _learn(self, rows: Rows) -> None:
        index = self._make(rows.shape[1])
        if not index.is_trained:
            try:
                index.train(self._scaled(rows))
            except RuntimeError as error:
                msg = f"`embeddings` do not suffice to train {self._factory!r}, got {len(rows)}"
                raise ValueError(msg) from error
        self.index = index

    def _append(self, rows: Rows) -> None:
        index = self._make(rows.shape[1]) if self.index is None else self.index
        if not index.is_trained:
            msg = f"`add` needs a trained index, and {self._factory!r} is not; call `train` first"
            raise ValueError(msg)
        index.add(self._scaled(rows))
        self.index = index

    def _find(self, rows: Rows, k: int) -> NearestNeighbors:
        queries = self._scaled(rows)
        distances, indices = self.index.search(queries, k)
        short = (indices < 0).any(axis=1)
        if short.any():
            indices[short], distances[short] = self._find_all(queries[short], k)
        nothing = NearestNeighbors(indices[:, :0], distances[:, :0])
        return nearest_of(nothing, NearestNeighbors(indices, distances), k, self.metric)

    def _find_all(self, queries: Rows, k: int) -> NearestNeighbors:
        """Return the nearest by looking at everything that the index holds."""
        faiss = load_faiss()
        index = self._on_cpu()
        lists = faiss.try_extract_index_ivf(index)
        if lists is None:  # a graph: not all can be reached
            vectors = index.reconstruct_n(0, index.ntotal)
            distance: Distance = "l2" if self.metric == "l2" else "dot"
            found = search(queries, vectors, k, distance=distance)
            return NearestNeighbors(found.indices, as_distances(found.scores, self.metric))
        probes, lists.nprobe = lists.nprobe, lists.nlist
        try:
            distances, indices = index.search(queries, k)
        finally:
            lists.nprobe = probes
        return NearestNeighbors(indices, distances)

    def _on_cpu(self) -> Any:
        return load_faiss().index_gpu_to_cpu(self.index) if self._is_on_gpu else self.index

    def _clear(self) -> None:
        self.index = None

    def _settings(self) -> dict[str, str]:
        return {"factory": self._factory}

    def _write(self, write: Write) -> None:
        faiss = load_faiss()
        writer = faiss.PyCallbackIOWriter(write)
        faiss.write_index(self._on_cpu(), writer)
        del writer  # it holds back what fills no block

    def _read(self, file: IndexFile) -> None:
        faiss = load_faiss()
        with file.path.open("rb") as opened:
            opened.seek(file.place("vectors")[0])
            index = faiss.read_index(faiss.PyCallbackIOReader(opened.read))
        self.index = self._placed(index)
        self._factory = file.header["settings"]["factory"]


@functools.cache
def load_faiss() -> Any:
    """Return the module faiss; a forked child may then use it, on one thread."""
    import faiss

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: faiss.omp_set_num_threads(1))
    return faiss
