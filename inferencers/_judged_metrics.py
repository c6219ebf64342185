"""Ranking metrics of text retrieval: their names, and their values from graded lists.

Q is the number of queries, K the length of their lists of documents, the nearest first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from milepost.inferencers._metric_names import metric_names
from milepost.neighbors import (
    average_precision,
    average_precision_at_r,
    average_precision_min,
    graded_ndcg,
    hit_rate,
    precision,
    r_precision,
    recall,
    reciprocal_rank,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class JudgedLists:
    """The documents found for queries, as they were judged.

    Attributes:
        grades: float64 (Q, K), NaN where there is no judgement, or no document.
        relevant: int64 (Q,), R: how many documents are relevant, at least 1.
        least: the grade from which on a document is relevant.
        gains: float64 (Q, K), what documents gain, 0 without judgement.
        best_gains: float64 (Q, K), the gains of the best ranking there could be.
    """

    grades: Floats
    relevant: Ints
    least: float
    gains: Floats
    best_gains: Floats

    def ndcg(self, k: int) -> Floats:
        """Return the discounted gain of the first k over the best there could be."""
        return np.asarray(graded_ndcg(self.gains[:, :k], self.best_gains[:, :k]))

    def judged(self, k: int) -> Floats:
        """Return the share of k that judged documents among the first k make up."""
        return np.asarray((~np.isnan(self.grades[:, :k])).sum(axis=1) / k)


_AT_K: dict[str, Callable[..., Floats]] = {
    "hit_rate": hit_rate,
    "recall": recall,
    "precision": precision,
    "map": average_precision,
    "map_min": average_precision_min,
    "mrr": lambda relevance, relevant, k: reciprocal_rank(relevance[:, :k], relevant),
}
_OF_GRADES: dict[str, Callable[[JudgedLists, int], Floats]] = {
    "ndcg": JudgedLists.ndcg,
    "judged": JudgedLists.judged,
}
_WHOLE: dict[str, Callable[..., Floats]] = {
    "map@r": average_precision_at_r,
    "r_precision": r_precision,
}
_ALL = (*_AT_K, *_WHOLE, *_OF_GRADES)


@dataclass(frozen=True)
class JudgedMetric:
    """A metric with its depth.

    Attributes:
        name: the name that is logged, such as `"ndcg@10"`.
        base: the name of its definition, such as `"ndcg"`.
        k: the depth; None: R.
    """

    name: str
    base: str
    k: int | None

    def values(self, lists: JudgedLists) -> Floats:
        """Return the value of each query, (Q,)."""
        if self.base in _OF_GRADES:
            return _OF_GRADES[self.base](lists, self.k or 0)
        relevance = lists.grades >= lists.least
        if self.k is None:
            return _WHOLE[self.base](relevance, lists.relevant)
        return _AT_K[self.base](relevance, lists.relevant, self.k)


def judged_metrics(names: str | Sequence[str] | None, k: Sequence[int]) -> tuple[JudgedMetric, ...]:
    """Return the metrics that names stand for.

    Args:
        names: `"ndcg"` stands for ndcg at each of `k`, `"ndcg@100"` and `"map@r"` for themselves;
            None: all.
        k: depths.

    Raises:
        UnknownNameError: a name is none of them.
    """
    return tuple(JudgedMetric(*name) for name in metric_names(names, k, _ALL, _WHOLE))
