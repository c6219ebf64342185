"""Ranking metrics of single queries, from which of their neighbours are relevant.

Q is the number of queries, K the length of the lists of neighbours. Throughout, `relevance` is
bool (Q, K), the nearest first; `relevant` is int (Q,), the number R of relevant items there are to
be found, in the list or not; a list shorter than k counts as if irrelevant items followed. All
results are float64 (Q,). A query with R = 0 has the value 0 and is better left out.

The definitions are those of TREC (precision, recall, average precision, reciprocal rank, R
precision: Manning, Raghavan and Schuetze, Introduction to Information Retrieval, 2008, ch. 8), of
"A Metric Learning Reality Check" (MAP@R: Musgrave et al., ECCV 2020) and, for ndcg, of Jarvelin
and Kekalainen (TOIS 2002) with linear gains and the discount log2(rank + 1). NumPy arrays and
torch tensors give the same bits. Memory: a few float64 arrays of the size of `relevance`.
"""

import numpy as np

from milepost.neighbors._backend import Array, backend_of
from milepost.neighbors._score import tree_sum


def hit_rate(relevance: Array, relevant: Array, k: int) -> Array:
    """Return 1 where a relevant item is among the k nearest, else 0.

    Example:
        >>> hit_rate(np.array([[False, True, False]]), np.array([1]), 1)
        array([0.])
    """
    return backend_of(relevance).float64(relevance[:, :k].any(axis=1))


def recall(relevance: Array, relevant: Array, k: int) -> Array:
    """Return the share of the R relevant items that are among the k nearest."""
    return _ratio(relevance[:, :k].sum(axis=1), relevant.clip(min=1))


def precision(relevance: Array, relevant: Array, k: int) -> Array:
    """Return the share of k that relevant items among the k nearest make up."""
    return backend_of(relevance).float64(relevance[:, :k].sum(axis=1)) / k


def average_precision(relevance: Array, relevant: Array, k: int) -> Array:
    """Return the sum over the first k ranks of relevance x precision, divided by R: `map@k`."""
    return _ratio(_precision_sums(relevance[:, :k]), relevant.clip(min=1))


def average_precision_min(relevance: Array, relevant: Array, k: int) -> Array:
    """Return the same sum divided by min(k, R): `map_min@k`."""
    return _ratio(_precision_sums(relevance[:, :k]), relevant.clip(min=1, max=k))


def average_precision_at_r(relevance: Array, relevant: Array) -> Array:
    """Return the sum over the first R ranks of relevance x precision, divided by R: `map@r`."""
    return _ratio(_precision_sums(_first_r(relevance, relevant)), relevant.clip(min=1))


def r_precision(relevance: Array, relevant: Array) -> Array:
    """Return the share of relevant items among the R nearest."""
    return _ratio(_first_r(relevance, relevant).sum(axis=1), relevant.clip(min=1))


def ndcg(relevance: Array, relevant: Array, k: int) -> Array:
    """Return the discounted gain of the first k ranks over that of the best ranking.

    Gain 1 for a relevant item, discount log2(rank + 1); the best ranking has min(k, R) relevant
    items in front.
    """
    backend = backend_of(relevance)
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    best = backend.array(np.concatenate([[1.0], np.cumsum(discounts)]), like=relevance)
    listed = relevance[:, :k]
    gains = listed * backend.array(discounts[: listed.shape[1]], like=relevance)[None, :]
    return _sum(gains) / best[relevant.clip(max=k)]


def reciprocal_rank(relevance: Array, relevant: Array) -> Array:
    """Return 1 / rank of the first relevant item, 0 where the list has none."""
    ranks = 1 + (relevance.cumsum(axis=1) == 0).sum(axis=1)
    return _ratio(relevance.any(axis=1), ranks)


def graded_ndcg(gains: Array, best: Array) -> Array:
    """Return the discounted gain of lists of k over that of the best lists there could be.

    Linear gains, discount log2(rank + 1). At most 1; 0 where the best gain nothing.

    Args:
        gains: float64 (Q, K), those of the neighbours.
        best: float64 (Q, K), the largest of the gallery in descending order.

    Example:
        >>> graded_ndcg(np.array([[0.0, 3.0]]), np.array([[3.0, 0.0]]))
        array([0.63092975])
    """
    backend = backend_of(gains)
    discounts = backend.array(1.0 / np.log2(np.arange(2, gains.shape[1] + 2)), like=gains)[None, :]
    whole = _sum(best * discounts)
    return _sum(gains * discounts) / (whole + 1.0 * (whole == 0))


def majority(labels: Array, k: int, weights: Array | None = None, slack: int = 0) -> Array:
    """Return the label that most of the k nearest bear, int64 (Q,).

    Of labels with equally many, it is the one whose nearest member is nearer.

    Args:
        labels: int (Q, K), the neighbours' labels as codes from 0; -1 where there is no neighbour.
        k: voters, at least 1.
        weights: int64 (Q, at least k or K), the votes of each neighbour, whose sum is below 2^63;
            None: one each.
        slack: labels whose votes are fewer by no more than this have equally many.

    Example:
        >>> majority(np.array([[2, 1, 1, 2]]), 4)
        array([2])
        >>> majority(np.array([[2, 1, 1, 2]]), 4, np.array([[3, 2, 2, 0]]))
        array([1])
    """
    backend = backend_of(labels)
    voters = backend.int64(labels[:, :k])
    count = voters.shape[1]
    ranks = backend.array(np.arange(count)[None, :], like=voters)
    by_label = backend.largest(voters * count + ranks, count)  # the nearest of a label comes last
    label, rank = by_label // count, by_label % count
    changes = ranks[:, 1:] * (label[:, 1:] != label[:, :-1])
    starts = backend.running_max(backend.concat([0 * label[:, :1], changes], axis=1))
    rows = backend.array(np.arange(len(label)), like=label)
    if weights is None:
        votes = ranks - starts + 1  # of a label so far: all of them at its nearest member
        merit = (votes * count - rank) * (label >= 0)
        return label[rows, merit.argmax(axis=1)]
    own = weights[rows[:, None], rank] * (label >= 0)
    sums = own.cumsum(axis=1)
    votes = sums - (sums - own)[rows[:, None], starts]
    best = backend.last_axis_max(votes)[:, None]
    merit = (votes >= best - slack) * (count - rank) * (label >= 0)
    return label[rows, merit.argmax(axis=1)]


def _ratio(part: Array, whole: Array) -> Array:
    backend = backend_of(part)
    return backend.float64(part) / backend.float64(whole)


def _first_r(relevance: Array, relevant: Array) -> Array:
    ranks = backend_of(relevance).array(np.arange(relevance.shape[1]), like=relevance)
    return relevance & (ranks[None, :] < relevant[:, None])


def _precision_sums(relevance: Array) -> Array:
    """Return the sum over ranks of relevance x precision."""
    backend = backend_of(relevance)
    ranks = backend.array(np.arange(1.0, relevance.shape[1] + 1), like=relevance)
    return _sum(relevance * (relevance.cumsum(axis=1) / ranks[None, :]))


def _sum(values: Array) -> Array:
    """Return the tree sum over ranks; 0 for empty lists."""
    return tree_sum(values) if values.shape[1] else values.sum(axis=1)
