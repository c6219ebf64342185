"""Whether embeddings are sound: finite, spread out, and of many dimensions.

N is the number of rows of a batch, S that of the sample, d the dimension, C the number of labels.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from milepost.inferencers._inferencer import Inferencer, Rows, State, Table
from milepost.inferencers._label_table import as_labels
from milepost.inferencers._row_sample import RowSample
from milepost.inferencers._scalar_stats import exact_sum
from milepost.neighbors import backend_of, pair_scores, search, unit_rows

Floats = NDArray[np.float64]
_BLOCK = 1 << 22  # pairs of rows that are compared at once


@final
class EmbeddingHealth(Inferencer):
    """Norms, non-finite rows, effective rank, collapse, alignment, uniformity and hubness.

    It reports rows with NaN or infinity instead of failing on them: they are counted, and left out
    of the rest. Over all rows:

    - `nan_share`: the share of rows that hold NaN or infinity;
    - `norm_mean`, `norm_std`, `norm_min`, `norm_max`: of the Euclidean norms.

    Over all rows too or, where there are more than `sample`, over so many of them, chosen by a hash
    of their ids; u are the rows scaled to length 1:

    - `effective_rank`: exp of the entropy of the singular values over their sum (Roy and Vetterli,
      EUSIPCO 2007), of the rows as they are: from 1 to d;
    - `mean_cosine`: the mean cosine of two different rows: 1 where all embeddings have collapsed
      to one direction;
    - `feature_std`: the mean over dimensions of the standard deviation of u, times sqrt(d): 1 for
      directions that are spread evenly, 0 for collapse (Chen and He, CVPR 2021);
    - `alignment`: the mean of |u - v|^2 over all pairs of rows of one label, and
      `uniformity`: the log of the mean of exp(-2 |u - v|^2) over all pairs (Wang and Isola, ICML
      2020, with their exponents): the smaller the better, both;
    - `hubness`: the skewness of how often a row is among the k nearest of others, by cosine
      (Radovanovic et al., JMLR 2010): 0 without hubs.

    What needs pairs is NaN where there are none. The result does not depend on batch size, order
    or number of workers. An empty run gives no metric.
    Memory: twice `sample` embeddings in float32, and blocks of 2^22 pairs.

    Args:
        embeddings: the output that holds embeddings, shape (N, d), computed with in float32.
        labels: a field of integers, booleans, floats or strings, shape (N,), or of rows of them,
            shape (N, C); None leaves out `alignment`.
        sample: how many rows are compared with each other, at least 2.
        k: neighbours for `hubness`, at least 1.
        name: prefixes the metrics where two inferencers would log the same name.

    Raises:
        ValueError: `sample` or `k` is too small. From `update`: embeddings are not a matrix, or
            change their dimension.

    Example:
        >>> health = EmbeddingHealth(labels=None, k=1)
        >>> rows = np.array([[3.0, 4.0], [0.0, 2.0], [np.nan, 1.0], [6.0, 8.0]])
        >>> health.update({"id": np.arange(4), "output": rows})
        >>> metrics = health.compute()
        >>> metrics["nan_share"], metrics["norm_max"], round(metrics["mean_cosine"], 6)
        (0.25, 10.0, 0.866667)
    """

    def __init__(
        self,
        embeddings: str = "output",
        labels: str | None = "label",
        *,
        sample: int = 10_000,
        k: int = 10,
        name: str = "embedding_health",
    ) -> None:
        for argument, value, least in (("sample", sample, 2), ("k", k, 1)):
            if value < least:
                msg = f"`{argument}` must be at least {least}, got {value}"
                raise ValueError(msg)
        self.name = name
        self.fetches = (embeddings,) if labels is None else (embeddings, labels)
        self._most, self._k = sample, k
        self.reset()

    def reset(self) -> None:
        self._sample = RowSample(self._most)
        self._rows = self._bad = 0
        self._range = math.inf, -math.inf
        self._sums: tuple[tuple[float, ...], ...] = (), ()  # of norms and of their squares

    def update(self, rows: Rows) -> None:
        embeddings = self._embeddings(rows)
        finite = np.isfinite(embeddings).all(axis=1)
        kept = embeddings[finite]
        columns = {"id": np.asarray(rows["id"])[finite], "embedding": kept}
        if len(self.fetches) > 1:
            columns["label"] = as_labels(rows[self.fetches[1]], self.fetches[1])[finite]
        self._rows += len(embeddings)
        self._bad += len(embeddings) - len(kept)
        if len(kept):
            self._sample.add(columns)
            norms = np.sqrt((kept.astype(np.float64) ** 2).sum(axis=1))
            self._add(norms.tolist(), (norms**2).tolist(), norms.min(), norms.max())

    def state(self) -> State:
        return {
            "rows": self._rows,
            "bad": self._bad,
            "norms": (*self._sums, *self._range),
            "sample": dict(self._sample.rows()),
        }

    def merge(self, states: Sequence[State]) -> None:
        for state in states:
            self._rows += state["rows"]
            self._bad += state["bad"]
            self._add(*state["norms"])
            if state["sample"]:
                self._sample.add(state["sample"])

    def compute(self) -> Mapping[str, float] | None:
        if not self._rows:
            return None
        sample = self._sample.rows()
        metrics = {"nan_share": self._bad / self._rows, **self._norms(self._rows - self._bad)}
        embeddings = sample.get("embedding", np.zeros((0, 1), np.float32))
        units = unit_rows(embeddings, backend_of(embeddings))
        metrics["effective_rank"] = effective_rank(embeddings)
        metrics["mean_cosine"] = mean_cosine(units)
        metrics["feature_std"] = feature_std(units)
        if len(self.fetches) > 1:
            metrics["alignment"] = alignment(units, sample.get("label", np.zeros(0)))
        metrics["uniformity"] = uniformity(units)
        metrics["hubness"] = skewness(self._occurrences(embeddings))
        return metrics

    def evidence(self) -> Mapping[str, Table]:
        """Return `"spectrum"`, the singular values, and `"hubs"`, the most frequent neighbours."""
        sample = self._sample.rows()
        if not sample:
            return {}
        counts = self._occurrences(sample["embedding"])
        most = np.argsort(-counts, kind="stable")[: 2 * self._k]
        values = singular_values(sample["embedding"])
        return {
            "spectrum": {"rank": np.arange(1, len(values) + 1), "singular_value": values},
            "hubs": {"hub": sample["id"][most], "occurrences": counts[most]},
        }

    def _embeddings(self, rows: Rows) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):
            embeddings = np.asarray(rows[self.fetches[0]]).astype(np.float32)
        if embeddings.ndim != 2 or embeddings.shape[1] == 0:
            msg = f"`{self.fetches[0]}` must have shape (N, d), got {embeddings.shape}"
            raise ValueError(msg)
        return embeddings

    def _add(self, sums: Sequence[float], squares: Sequence[float], low: Any, high: Any) -> None:
        new = zip(self._sums, (sums, squares), strict=True)
        self._sums = tuple(exact_sum([*old, *values]) for old, values in new)
        self._range = min(self._range[0], float(low)), max(self._range[1], float(high))

    def _norms(self, count: int) -> dict[str, float]:
        low, high = self._range
        if not count:
            return dict.fromkeys(("norm_mean", "norm_std", "norm_min", "norm_max"), math.nan)
        mean, square = (math.fsum(parts) / count for parts in self._sums)
        std = math.sqrt(max(0.0, square - mean**2))
        return {"norm_mean": mean, "norm_std": std, "norm_min": low, "norm_max": high}

    def _occurrences(self, embeddings: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return how often each row is among the k nearest of the others."""
        if len(embeddings) < 2:
            return np.zeros(len(embeddings), np.int64)
        found = search(embeddings, embeddings, self._k, exclude=np.arange(len(embeddings)))
        return np.bincount(found.indices.ravel(), minlength=len(embeddings)).astype(np.int64)


def singular_values(embeddings: NDArray[Any]) -> Floats:
    """Return the singular values of rows (S, d), the largest first; from their d x d products."""
    rows = embeddings.astype(np.float64)
    products = rows.T @ rows if rows.shape[0] > rows.shape[1] else rows @ rows.T
    squares = np.linalg.eigvalsh(products)[::-1]
    least = len(products) * np.finfo(np.float64).eps * squares[:1].max(initial=0.0)
    return np.sqrt(np.where(squares > least, squares, 0.0))


def effective_rank(embeddings: NDArray[Any]) -> float:
    """Return exp of the entropy of the singular values over their sum; NaN if all are 0.

    Example:
        >>> round(effective_rank(np.eye(5)), 9)
        5.0
    """
    values = singular_values(embeddings)
    if not values.any():
        return math.nan
    shares = values[values > 0] / values.sum()
    return math.exp(-float((shares * np.log(shares)).sum()))


def mean_cosine(units: NDArray[np.float32]) -> float:
    """Return the mean cosine of two different rows of length 1, NaN if there are none."""
    rows, count = units.astype(np.float64), len(units)
    if count < 2:
        return math.nan
    total = (rows.sum(axis=0) ** 2).sum() - (rows**2).sum()
    return float(total / (count * (count - 1)))


def feature_std(units: NDArray[np.float32]) -> float:
    """Return the mean standard deviation of the columns times sqrt(d), NaN without rows."""
    if not len(units):
        return math.nan
    return float(units.astype(np.float64).std(axis=0).mean() * math.sqrt(units.shape[1]))


def alignment(units: NDArray[np.float32], labels: NDArray[Any]) -> float:
    """Return the mean of |u - v|^2 over all pairs of rows of one label, NaN if there are none.

    The sum over the pairs of a class is n (sum of |u|^2) - |sum of u|^2.
    """
    axis = 0 if labels.ndim > 1 else None
    _, codes, counts = np.unique(labels, axis=axis, return_inverse=True, return_counts=True)
    codes = codes.reshape(-1)
    pairs = int((counts * (counts - 1) // 2).sum())
    if not pairs:
        return math.nan
    rows = units.astype(np.float64)
    order = np.argsort(codes, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.add.reduceat(rows[order], starts, axis=0)
    squares = np.bincount(codes, (rows**2).sum(axis=1))
    return max(0.0, float((counts * squares - (sums**2).sum(axis=1)).sum()) / pairs)


def uniformity(units: NDArray[np.float32]) -> float:
    """Return the log of the mean of exp(-2 |u - v|^2) over all pairs, NaN if there are none."""
    count, total = len(units), 0.0
    if count < 2:
        return math.nan
    step = max(1, _BLOCK // count)
    for start in range(0, count, step):
        squares = -pair_scores(units[start : start + step], units[start + 1 :], distance="l2")
        total += float(np.triu(np.exp(-2.0 * squares.astype(np.float64))).sum())
    return math.log(total / (count * (count - 1) // 2))


def skewness(counts: NDArray[np.int64]) -> float:
    """Return the third standardised moment, 0 where all counts are equal, NaN without any."""
    if not len(counts):
        return math.nan
    deviations = counts - counts.mean()
    variance = float((deviations**2).mean())
    return float((deviations**3).mean()) / variance**1.5 if variance else 0.0
