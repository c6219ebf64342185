"""What every index of embeddings does: learn, add, search, save, load.

N is the number of embeddings in the index, Q the number of queries, d the dimension.
"""

import abc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np

from milepost.errors import IndexFileError
from milepost.neighbors._backend import Array, backend_of
from milepost.neighbors._index_file import (
    IndexDetails,
    IndexFile,
    Write,
    read_index,
    write_index,
)
from milepost.neighbors._score import Distance, as_rows, check_distance
from milepost.neighbors._search import pair_scores, search

FilePath: TypeAlias = str | os.PathLike[str]


class NearestNeighbors(NamedTuple):
    """What an index found, the nearest first.

    Attributes:
        indices: int64 (Q, k), positions in the order of adding.
        distances: float32 (Q, k): for l2 the squared distance, smaller is closer; for dot and
            cosine the similarity, larger is closer.
    """

    indices: Array
    distances: Array


class Indexer(abc.ABC):
    """An index of embeddings.

    Embeddings are NumPy arrays or torch tensors, on any device; results are of the query's kind
    and on its device. A position in the index is that of the order of adding.

    A kind of its own gives `__len__`, `_learn`, `_append`, `_find`, `_clear`, `_write`, `_read`
    and, where it has them, `_settings`.

    Args:
        metric: `"l2"` (squared Euclidean distance), `"dot"` or `"cosine"`.

    Attributes:
        kind: the name of the kind, which its files bear.
        arrays: `"native"` if it takes tensors where they are, `"numpy"` if it copies them into
            NumPy's memory.
        metric: what is compared.
        dimension: that of its embeddings; None before the first.
    """

    kind: ClassVar[str]
    arrays: ClassVar[Literal["native", "numpy"]] = "numpy"

    def __init__(self, metric: Distance = "l2") -> None:
        check_distance(metric)
        self.metric: Distance = metric
        self.dimension: int | None = None

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return N."""

    def train(self, embeddings: Array) -> None:
        """Forget everything, and learn from embeddings what the index needs; add none of them.

        After an error the index is what it was.

        Args:
            embeddings: shape (rows, d), a sample of what will be added.
        """
        rows = self._rows(embeddings, "embeddings", None)
        self._learn(rows)
        self.dimension = int(rows.shape[1])

    def add(self, embeddings: Array) -> None:
        """Add embeddings behind those that are there.

        Args:
            embeddings: shape (rows, d), finite.

        Raises:
            ValueError: they are of another dimension or not finite, or the index needs training.
        """
        rows = self._rows(embeddings, "embeddings", self.dimension)
        self._append(rows)
        self.dimension = int(rows.shape[1])

    def search(self, query: Array, k: int) -> NearestNeighbors:
        """Return the k nearest of each query; all there are where k is larger.

        Args:
            query: shape (Q, d).
            k: at least 1.

        Raises:
            ValueError: the index is empty, or an argument is wrong.
        """
        self._require_content("search")
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            msg = f"`k` must be an integer, at least 1, got {k!r}"
            raise ValueError(msg)
        rows = self._rows(query, "query", self.dimension)
        found = self._find(rows, min(int(k), len(self)))
        return NearestNeighbors(*(like_array(x, query) for x in found))

    def measure_recall(self, queries: Array, embeddings: Array, k: int = 10) -> float:
        """Return the share of the true k nearest neighbours that the index finds.

        1 for an exact index; what an approximate one reaches is measured, by an exact search for
        these queries. An embedding as near as the k-th nearest counts as found.

        Args:
            queries: shape (Q, d), the sample to measure with; a thousand say it to about 1 %.
            embeddings: shape (N, d), what was added, in the order of adding.
            k: neighbours a query.

        Raises:
            ValueError: the embeddings are not as many as those in the index.
        """
        if len(embeddings) != len(self):
            msg = (
                f"`embeddings` must be the {len(self)} that were added to the index, got "
                f"{len(embeddings)}"
            )
            raise ValueError(msg)
        queries, embeddings = (backend_of(x).numpy(x) for x in (queries, embeddings))
        found = self.search(queries, k).indices
        least = search(queries, embeddings, found.shape[1], distance=self.metric).scores[:, -1]
        hits = [
            pair_scores(query[None], embeddings[indices], distance=self.metric)[0] >= worst
            for query, indices, worst in zip(queries, found, least, strict=True)
        ]
        return float(np.mean(hits))

    def reset(self) -> None:
        """Forget the embeddings and what was learned from them."""
        self._clear()
        self.dimension = None

    def save(self, path: FilePath, details: IndexDetails | None = None) -> None:
        """Save the index and what is to be known of it; `path` holds the old file or the new.

        Args:
            path: the file.
            details: ids, labels, and what made the embeddings.

        Raises:
            ValueError: the index is empty, or there is not one id or label for each embedding.
        """
        self._require_content("save")
        details = details or IndexDetails()
        for name, values in (("ids", details.ids), ("labels", details.labels)):
            if values is not None and len(values) != len(self):
                msg = f"`{name}` must have one for each of the {len(self)}, got {len(values)}"
                raise ValueError(msg)
        header = {
            "kind": self.kind,
            "dimension": self.dimension,
            "metric": self.metric,
            "count": len(self),
            "normalized": details.normalized,
            "model": details.model,
            "settings": self._settings(),
        }
        write_index(Path(path), header, self._write, details.arrays())

    def load(
        self,
        path: FilePath,
        *,
        model: str | None = None,
        normalized: bool | None = None,
    ) -> IndexDetails:
        """Take a saved index in place of what is there; return what was saved with it.

        After an error the index is what it was.

        Args:
            path: the file.
            model: the fingerprint that the file must bear; None: any.
            normalized: what the file must say of its embeddings, if it says it; None: anything.

        Raises:
            IndexFileError: the file is damaged or of a future version; or it is of another kind,
                metric, dimension, normalisation or model.
            OSError: it cannot be read.
        """
        file = read_index(Path(path))
        wanted = {
            "kind": self.kind,
            "metric": self.metric,
            "dimension": self.dimension,
            "normalized": normalized,
            "model": model,
        }
        for name, value in wanted.items():
            said = file.header[name]
            unsaid = name == "normalized" and said is None
            if value is not None and said != value and not unsaid:
                msg = f"{path}: {_MISMATCH[name].format(said, value)}"
                raise IndexFileError(msg)
        details = file.details()
        self._read(file)
        self.dimension = int(file.header["dimension"])
        return details

    def _rows(self, x: Array, name: str, dimension: int | None) -> Array:
        backend = backend_of(x)
        rows = as_rows(x, name, backend)
        if dimension is not None and rows.shape[1] != dimension:
            msg = f"`{name}` must have the index's dimension {dimension}, got {rows.shape[1]}"
            raise ValueError(msg)
        return backend.numpy(rows) if self.arrays == "numpy" else rows

    def _require_content(self, action: str) -> None:
        if not len(self):
            msg = f"`{action}` needs an index that holds embeddings; train it and add some first"
            raise ValueError(msg)

    def _settings(self) -> Mapping[str, Any]:
        """Return what else the file says; JSON."""
        return {}

    @abc.abstractmethod
    def _learn(self, rows: Array) -> None:
        """Forget everything and learn from float32 rows; after an error nothing is forgotten."""

    @abc.abstractmethod
    def _append(self, rows: Array) -> None:
        """Add float32 rows, which may be the caller's own memory; after an error none is added."""

    @abc.abstractmethod
    def _find(self, rows: Array, k: int) -> NearestNeighbors:
        """Return the k nearest, at most N, of float32 rows."""

    @abc.abstractmethod
    def _clear(self) -> None:
        """Forget everything."""

    @abc.abstractmethod
    def _write(self, write: Write) -> None:
        """Write the vectors."""

    @abc.abstractmethod
    def _read(self, file: IndexFile) -> None:
        """Take the vectors of a file, whose header fits, in place of those that are there."""


_MISMATCH = {
    "kind": "the file holds an index of kind {!r}; this indexer is of kind {!r}",
    "metric": "the file's metric is {!r}; make the indexer with it, this one's is {!r}",
    "dimension": "the file's dimension is {}; this index holds embeddings of dimension {}",
    "normalized": "`normalize_embeddings` was {} for the embeddings in the file; here it is {}",
    "model": (
        "the file's embeddings were made by other weights (fingerprint {}; here {}); embed the "
        "gallery again, or load it with `any_model=True` if they are alike"
    ),
}


def like_array(x: Array, like: Array) -> Array:
    """Return an array in the library and on the device of another."""
    backend, own = backend_of(like), backend_of(x)
    return backend.array(x if own is backend else own.numpy(x), like=like)


def as_distances(scores: Array, metric: Distance) -> Array:
    """Return scores, of which larger is closer, as what the metric is called by."""
    return 0.0 - scores if metric == "l2" else scores


def nearest_of(
    first: NearestNeighbors, second: NearestNeighbors, k: int, metric: Distance
) -> NearestNeighbors:
    """Return the k nearest of two results in NumPy arrays; equal ones rank by position."""
    pairs = zip(first, second, strict=True)
    indices, distances = (np.concatenate(pair, axis=1) for pair in pairs)
    keys = distances if metric == "l2" else -distances
    order = np.lexsort((indices, keys), axis=1)[:, :k]
    return NearestNeighbors(
        np.take_along_axis(indices, order, axis=1), np.take_along_axis(distances, order, axis=1)
    )
