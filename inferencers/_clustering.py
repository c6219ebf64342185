"""How well clusters of embeddings agree with labels."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, final

import numpy as np
import numpy.typing as npt

from milepost.errors import missing_extra, unknown_name
from milepost.inferencers._evidence import Over
from milepost.inferencers._inferencer import PairInferencer, Rows, State, Table
from milepost.inferencers._label_table import LabelTable
from milepost.inferencers._metric_names import chosen_names
from milepost.inferencers._pair_rows import PairRows
from milepost.inferencers._row_sample import RowSample
from milepost.neighbors import backend_of, search, unit_rows

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_SCORES = {
    "nmi": "normalized_mutual_info_score",
    "ami": "adjusted_mutual_info_score",
    "ari": "adjusted_rand_score",
}
_POINTS = 256  # a cluster, from which k-means learns; what faiss takes by default
_OFFERED = 1 << 14  # rows offered to the sample at once


@final
class Clustering(PairInferencer):
    """Agreement of k-means clusters with labels: NMI, AMI and ARI.

    The rows of role `query` are clustered by faiss's k-means, each then goes to the nearest
    centroid, of equally near ones the first.

    - `nmi`: mutual information of clusters and labels over the mean of their entropies;
    - `ami`: the same, less what chance would give (Vinh et al., JMLR 2010);
    - `ari`: the share of pairs on which both agree, less what chance would give (Hubert and Arabie,
      1985).

    They are scikit-learn's scores, and, with `distance="l2"`, pytorch-metric-learning's `NMI` and
    `AMI` where it clusters the same rows in the same order; it learns from other rows where there
    are more than 256 a cluster.

    The result does not depend on batch size, order or number of workers: k-means is seeded and
    learns from all rows in the order of their ids or, where there are more than 256 a cluster, from
    so many of them, chosen by a hash of their ids. There is no confidence interval.

    Memory: a float32 copy of the embeddings (in a memory-mapped file where they exceed a quarter
    of the budget); on each worker, up to 768 embeddings a cluster.

    Args:
        embeddings: the output that holds embeddings, shape (N, d), computed with in float32.
        labels: the field that holds labels: integers, booleans, floats or strings, shape (N,), or
            rows of them, shape (N, C).
        clusters: how many; None: as many as there are labels.
        metrics: names as above; None: all of them. `ami` takes long for thousands of labels.
        distance: `"l2"`, or `"cosine"`, which scales rows to length 1 first.
        seed: where k-means starts.
        iterations: of k-means.
        restarts: how often k-means starts; the tightest clusters are taken.
        name: prefixes the metrics where two inferencers would log the same name.

    Raises:
        ValueError: an argument is out of range. In a run: more clusters than rows.
        UnknownNameError: a metric or the distance does not exist.
        ImportError: scikit-learn is not installed.

    Example:
        >>> clustering = Clustering(distance="l2")
        >>> clustering.update(
        ...     {
        ...         "id": np.arange(4),
        ...         "role": np.array(["query"] * 4),
        ...         "output": np.array([[0.0], [0.1], [5.0], [5.1]]),
        ...         "label": np.array(["a", "a", "b", "b"]),
        ...     }
        ... )
        >>> for number in range(clustering.rounds):
        ...     clustering.start_round(number)
        ...     clustering.scan(clustering.rows(), number)
        ...     clustering.end_round(number)
        >>> {name: round(value, 6) for name, value in clustering.compute().items()}
        {'nmi': 1.0, 'ami': 1.0, 'ari': 1.0}
    """

    roles: tuple[str, ...] = ("query",)
    arrays: ClassVar[Literal["numpy", "native"]] = "native"

    def __init__(
        self,
        embeddings: str = "output",
        labels: str = "label",
        *,
        clusters: int | None = None,
        metrics: str | Sequence[str] | None = None,
        distance: Literal["cosine", "l2"] = "cosine",
        seed: int = 1234,
        iterations: int = 25,
        restarts: int = 1,
        name: str = "clustering",
    ) -> None:
        least = {"clusters": clusters, "iterations": iterations, "restarts": restarts}
        for argument, value in least.items():
            if value is not None and value < 1:
                msg = f"`{argument}` must be at least 1, got {value}"
                raise ValueError(msg)
        chosen = chosen_names(metrics, tuple(_SCORES))
        for metric in chosen:
            if metric not in _SCORES:
                raise unknown_name("metric", metric, _SCORES)
        if distance not in ("cosine", "l2"):
            raise unknown_name("distance", distance, ("cosine", "l2"))
        if importlib.util.find_spec("sklearn") is None:
            raise missing_extra("scikit-learn", "clustering")
        self.name = name
        self.fetches = (embeddings, labels)
        self._metrics, self._given, self._distance = chosen, clusters, distance
        self._options = {"seed": seed, "niter": iterations, "nredo": restarts}
        self.reset()

    def reset(self) -> None:
        self._collected = PairRows(self.fetches[0], self.fetches[1])
        self._others: list[LabelTable] = []
        self._sample: RowSample | None = None
        self._centroids: Floats | None = None
        self._found: Ints | None = None  # the cluster of each row
        self._pairs = np.zeros((0, 2), np.int64)  # codes of label and cluster
        self._counts = np.zeros(0, np.int64)  # how often each pair occurs

    def update(self, rows: Rows) -> None:
        self._collected.add(rows, self.max_memory_bytes)

    def state(self) -> State:
        if self._found is not None:
            return {"pairs": self._pairs.copy(), "counts": self._counts.copy()}
        if self._centroids is not None:
            return {"centroids": self._centroids}
        table = LabelTable.sum([self._collected.table(), *self._others])
        return {"labels": table.labels, "counts": table.counts}

    def merge(self, states: Sequence[State]) -> None:
        if self._found is not None:
            pairs = np.concatenate([self._pairs, *(state["pairs"] for state in states)])
            counts = np.concatenate([self._counts, *(state["counts"] for state in states)])
            self._pairs, self._counts = _added(pairs, counts)
        elif self._centroids is not None:  # those of all workers, should they differ in a bit
            every = [self._centroids, *(state["centroids"] for state in states)]
            self._centroids = min(every, key=lambda each: each.tobytes())
        else:
            self._others += [LabelTable(**state) for state in states]

    @property
    def rounds(self) -> int:
        return 2 * bool(len(self._labels().labels))

    def rows(self) -> Rows:
        """Return this worker's rows, from which k-means learns; none once it has."""
        rows = self._collected.of("query")
        some = slice(0) if self._centroids is not None else slice(None)
        return {
            "id": rows.ids[some],
            "role": np.full(len(rows.ids[some]), "query"),
            self.fetches[0]: rows.embeddings[some],
        }

    def start_round(self, round: int) -> None:
        if round == 0:
            self._table = self._labels()
            self._clusters = self._given or len(self._table.labels)
            count = int(self._table.counts[:, 0].sum())
            if self._clusters > count:
                msg = (
                    f"`clusters` must be at most the number of rows, {count}, got {self._clusters}"
                )
                raise ValueError(msg)
            self._sample = RowSample(_POINTS * self._clusters)
        else:
            self._assign()

    def scan(self, part: Rows, round: int) -> None:
        if self._sample is None:
            return
        for start in range(0, len(part["id"]), _OFFERED):
            some = slice(start, start + _OFFERED)
            rows = self._prepared(part[self.fetches[0]][some])
            self._sample.add({"id": part["id"][some], "embedding": rows})

    def end_round(self, round: int) -> None:
        if self._sample is not None:
            self._centroids = k_means(
                self._sample.rows()["embedding"], self._clusters, **self._options
            )
            self._sample = None

    def compute(self) -> Mapping[str, float]:
        if self._found is None:
            return {}
        from sklearn import metrics

        labels, clusters = np.repeat(self._pairs, self._counts, axis=0).T
        return {
            name: float(getattr(metrics, _SCORES[name])(labels, clusters)) for name in self._metrics
        }

    def evidence(self) -> Mapping[str, Table]:
        """Return `"samples"`: label and cluster of this worker's rows."""
        if self._found is None:
            return {}
        rows = self._collected.of("query")
        return {"samples": {"id": rows.ids, "label": rows.labels, "cluster": self._found}}

    def resampled(
        self, tables: Mapping[str, Table], weights: npt.NDArray[np.float64], over: Over
    ) -> Mapping[str, npt.NDArray[np.float64]]:
        return {}

    def _labels(self) -> LabelTable:
        return LabelTable.sum([self._collected.table(), *self._others])

    def _prepared(self, rows: Any) -> Floats:
        backend = backend_of(rows)
        return backend.numpy(unit_rows(rows, backend) if self._distance == "cosine" else rows)

    def _assign(self) -> None:
        """Find the cluster of each row."""
        rows = self._collected.of("query")
        found = self._found = np.zeros(len(rows.ids), np.int64)
        assert self._centroids is not None
        for start in range(0, len(rows.ids), _OFFERED):
            some = slice(start, start + _OFFERED)
            near = self._prepared(rows.embeddings[some])
            found[some] = search(near, self._centroids, 1, distance="l2").indices[:, 0]
        codes = self._table.codes(rows.labels)
        pairs = np.stack([codes, found], axis=1)
        self._pairs, self._counts = _added(pairs, np.ones(len(pairs), np.int64))


def k_means(rows: Floats, clusters: int, **options: int) -> Floats:
    """Return the centroids that faiss's k-means finds, float32 (clusters, d).

    Args:
        rows: float32 (N, d), at least as many as clusters.
        clusters: how many.
        **options: those of `faiss.Kmeans`.
    """
    import faiss

    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": len(rows)}
    learner = faiss.Kmeans(rows.shape[1], clusters, **limits, **options)
    learner.train(np.ascontiguousarray(rows))
    return np.asarray(learner.centroids)


def _added(pairs: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Return the different pairs, ascending, and the sum of their counts."""
    if not len(pairs):
        return pairs.reshape(0, 2), counts
    different, inverse = np.unique(pairs, axis=0, return_inverse=True)
    return different, np.bincount(inverse.reshape(-1), counts).astype(np.int64)
