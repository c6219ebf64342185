"""Embeddings on a plane, for people to look at.

S is the number of rows of the sample, d the dimension, C the number of columns of labels.
"""

import importlib.util
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, final, get_args

import numpy as np
from numpy.typing import NDArray

from milepost.errors import missing_extra, unknown_name
from milepost.inferencers._inferencer import Inferencer, Rows, State, Table
from milepost.inferencers._label_table import as_labels
from milepost.inferencers._row_sample import RowSample

Floats = NDArray[np.float64]
Method: TypeAlias = Literal["auto", "pca", "umap"]

_FEWEST = 30  # rows for UMAP
_SEED = 0
_LEAST = 1e-6  # of the largest extent, for another axis


@final
class EmbeddingMap(Inferencer):
    """Places embeddings on a plane, near ones near each other; the report draws the map.

    It has no metrics. Its evidence `"map"` holds a sample of the rows, chosen by a hash of their
    ids: the same rows at each evaluation, whatever the batch size, the order and the workers. Rows
    that hold NaN or infinity are left out.

    - `"pca"`: along the two directions in which the rows vary most, each turned such that its
      largest coefficient is positive: the same rows give the same map. About 0.1 s for 2,000 rows
      of 512 numbers;
    - `"umap"`: by UMAP (McInnes et al., 2018), of cosine distances, with 15 neighbours and a fixed
      seed: the same map on the same machine. It shows clusters better; distances between them say
      little. About 5 s for 2,000 rows, and 20 s more at the first. Fewer than 30 rows are placed
      by PCA.

    Memory: twice `samples` embeddings in float32.

    Args:
        embeddings: the output that holds embeddings, shape (N, d).
        labels: a field of integers, booleans, floats or strings, shape (N,), or of rows of them,
            shape (N, C), by which points are coloured; None leaves them alike.
        samples: how many rows are shown, at least 2.
        method: as above; `"auto"` is `"umap"` where umap-learn is installed, else `"pca"`.
        name: of its evidence.

    Raises:
        ValueError: `samples` is too small. From `update`: embeddings are not a matrix.
        UnknownNameError: the method does not exist.
        ImportError: UMAP is asked for, and umap-learn is not installed.

    Example:
        >>> embedding_map = EmbeddingMap(labels=None, method="pca")
        >>> embedding_map.keep_evidence = True  # as the runner sets it
        >>> embedding_map.update({"id": np.arange(3), "output": np.array([[1, 5], [2, 5], [6, 5]])})
        >>> embedding_map.evidence()["map"]["x"].round(6)
        array([-2., -1.,  3.])
    """

    def __init__(
        self,
        embeddings: str = "output",
        labels: str | None = "label",
        *,
        samples: int = 2000,
        method: Method = "auto",
        name: str = "embedding_map",
    ) -> None:
        if type(samples) is not int or samples < 2:
            msg = f"`samples` must be a whole number of at least 2, got {samples!r}"
            raise ValueError(msg)
        if method not in get_args(Method):
            raise unknown_name("method", method, get_args(Method))
        has_umap = method != "pca" and importlib.util.find_spec("umap") is not None
        if method == "umap" and not has_umap:
            raise missing_extra("umap-learn", "umap")
        self.name = name
        self.fetches = (embeddings,) if labels is None else (embeddings, labels)
        self._most = samples
        self._method = "umap" if has_umap else "pca"
        self.reset()

    def reset(self) -> None:
        self._sample = RowSample(self._most)

    def update(self, rows: Rows) -> None:
        if not self.keep_evidence:
            return
        with np.errstate(over="ignore"):
            embeddings = np.asarray(rows[self.fetches[0]]).astype(np.float32)
        if embeddings.ndim != 2 or embeddings.shape[1] == 0:
            msg = f"`{self.fetches[0]}` must have shape (N, d), got {embeddings.shape}"
            raise ValueError(msg)
        finite = np.isfinite(embeddings).all(axis=1)
        columns = {"id": np.asarray(rows["id"])[finite], "embedding": embeddings[finite]}
        for label in self.fetches[1:]:
            columns["label"] = as_labels(rows[label], label)[finite]
        if finite.any():
            self._sample.add(columns)

    def state(self) -> State:
        return dict(self._sample.rows())

    def merge(self, states: Sequence[State]) -> None:
        for state in states:
            if state:
                self._sample.add(state)

    def compute(self) -> None:
        return None

    def evidence(self) -> Mapping[str, Table]:
        """Return `"map"`: `item` (the id), `x`, `y`, `label`, and `method`, by which it was made.

        It is whole on each worker.
        """
        rows = self._sample.rows()
        if not rows:
            return {}
        embeddings = rows["embedding"]
        method = self._method if len(embeddings) >= _FEWEST else "pca"
        places = umap_plane(embeddings) if method == "umap" else principal_plane(embeddings)
        table: dict[str, Any] = {"item": rows["id"], "x": places[:, 0], "y": places[:, 1]}
        if "label" in rows:
            table["label"] = rows["label"]
        return {"map": {**table, "method": np.full(len(embeddings), method)}}


def principal_plane(rows: NDArray[Any]) -> Floats:
    """Return rows (S, d) along their first two principal axes, around their mean: (S, 2).

    The largest coefficient of an axis, of equally large ones the first, is positive.

    Example:
        >>> principal_plane(np.array([[0.0, 1.0], [0.0, 3.0]])).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """
    centred = rows.astype(np.float64)
    centred -= centred.mean(axis=0)
    is_tall = rows.shape[0] > rows.shape[1]
    _, vectors = np.linalg.eigh(centred.T @ centred if is_tall else centred @ centred.T)
    axes = vectors[:, :-3:-1] if is_tall else centred.T @ vectors[:, :-3:-1]
    lengths = np.linalg.norm(axes, axis=0)
    is_axis = lengths > _LEAST * lengths.max()  # else the rows do not vary that way
    axes = np.where(is_axis, axes / np.where(is_axis, lengths, 1.0), 0.0)
    peaks = axes[abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    places = np.zeros((len(rows), 2))
    places[:, : axes.shape[1]] = centred @ (axes * np.where(peaks < 0, -1.0, 1.0))
    return places


def umap_plane(rows: NDArray[Any]) -> Floats:
    """Return rows (S, d) placed by UMAP: (S, 2); S is 30 at least."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed takes one thread, and others of its parts
        umap = _import_umap()
        places: Floats = umap.UMAP(metric="cosine", random_state=_SEED).fit_transform(rows)
    return places.astype(np.float64)


def _import_umap() -> Any:
    """Return the module, without TensorFlow, which it would load for a part that is not needed."""
    is_hidden = "tensorflow" not in sys.modules
    if is_hidden:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]  # as Python marks the absent
    try:
        return importlib.import_module("umap")
    finally:
        if is_hidden:
            del sys.modules["tensorflow"]
