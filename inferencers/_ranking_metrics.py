"""The names of ranking metrics, and the values behind them for single queries.

Q is the number of queries, K the length of their lists of neighbours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from milepost.inferencers._metric_names import metric_names
from milepost.neighbors import (
    average_precision,
    average_precision_at_r,
    average_precision_min,
    graded_ndcg,
    hit_rate,
    ndcg,
    precision,
    r_precision,
    recall,
    reciprocal_rank,
)

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Winner: TypeAlias = Callable[[Ints, npt.NDArray[np.float32], int], Ints]
"""Gives the label for which the k nearest vote, from labels (Q, K), scores (Q, K) and k."""

_AT_K = {
    "hit_rate": hit_rate,
    "recall": recall,
    "precision": precision,
    "map": average_precision,
    "map_min": average_precision_min,
    "ndcg": ndcg,
}
_WHOLE = {"map@r": average_precision_at_r, "r_precision": r_precision, "mrr": reciprocal_rank}
_KNN = "knn_accuracy"
_ALL = [name for name in _AT_K if name != "ndcg"] + [*_WHOLE, "ndcg", _KNN]


@dataclass(frozen=True)
class Ranking:
    """The neighbours of queries, the nearest first.

    Attributes:
        relevance: bool (Q, K), which of them are relevant.
        relevant: int64 (Q,), R: how many relevant items the gallery has, at least 1.
        accepts: tells for a depth k whether the label for which the k nearest vote is relevant,
            bool (Q,).
        gains: float64 (Q, K), their gains; None: 1 for relevant ones.
        best_gains: float64 (Q, K), the largest gains of the gallery in descending order.
    """

    relevance: Bools
    relevant: Ints
    accepts: Callable[[int], Bools]
    gains: Floats | None = None
    best_gains: Floats | None = None


@dataclass(frozen=True)
class RankingMetric:
    """A ranking metric with its depth.

    Attributes:
        name: the name that is logged, such as `"map@10"`.
        base: the name of its definition, such as `"map"`.
        k: the depth; None: R, or, for `"mrr"`, any.
    """

    name: str
    base: str
    k: int | None

    @property
    def needs_r(self) -> bool:
        """Whether the lists must have R neighbours."""
        return self.k is None and self.name != "mrr"

    def values(self, ranking: Ranking) -> Floats:
        """Return the value of each query, shape (Q,)."""
        if self.k is None:
            whole: Floats = _WHOLE[self.base](ranking.relevance, ranking.relevant)
            return whole
        if self.base == _KNN:
            return ranking.accepts(self.k).astype(np.float64)
        if self.base == "ndcg" and ranking.gains is not None and ranking.best_gains is not None:
            graded: Floats = graded_ndcg(
                ranking.gains[:, : self.k], ranking.best_gains[:, : self.k]
            )
            return graded
        at_k: Floats = _AT_K[self.base](ranking.relevance, ranking.relevant, self.k)
        return at_k


def ranking_metrics(
    names: str | Sequence[str] | None, k: Sequence[int]
) -> tuple[RankingMetric, ...]:
    """Return the metrics that names stand for.

    Args:
        names: `"map"` stands for map at each of `k`, `"map@100"`, `"mrr"` for itself; None: all.
        k: depths.

    Raises:
        UnknownNameError: a name is none of them.
    """
    return tuple(RankingMetric(*name) for name in metric_names(names, k, _ALL, _WHOLE))
