import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from milepost import neighbors
from tests.kinds import CONVERTERS

Bools = np.ndarray[Any, np.dtype[np.bool_]]

# One query; relevant items at ranks 2, 3 and 6 of 6, one more is not in the list.
RELEVANCE = np.array([[False, True, True, False, False, True]])
RELEVANT = np.array([4])


@pytest.mark.parametrize(
    ("name", "k", "expected"),
    [
        ("hit_rate", 1, 0.0),
        ("hit_rate", 2, 1.0),
        ("recall", 3, 2 / 4),
        ("recall", 100, 3 / 4),
        ("precision", 3, 2 / 3),
        ("precision", 100, 3 / 100),
        ("average_precision", 3, (1 / 2 + 2 / 3) / 4),
        ("average_precision", 100, (1 / 2 + 2 / 3 + 3 / 6) / 4),
        ("average_precision_min", 3, (1 / 2 + 2 / 3) / 3),
        ("average_precision_min", 100, (1 / 2 + 2 / 3 + 3 / 6) / 4),
        ("ndcg", 3, (1 / math.log2(3) + 1 / 2) / (1 + 1 / math.log2(3) + 1 / 2)),
        ("average_precision_at_r", None, (1 / 2 + 2 / 3) / 4),
        ("r_precision", None, 2 / 4),
        ("reciprocal_rank", None, 1 / 2),
    ],
)
def test_a_metric_has_the_value_worked_out_by_hand(
    name: str, k: int | None, expected: float
) -> None:
    depth = () if k is None else (k,)
    value = getattr(neighbors, name)(RELEVANCE, RELEVANT, *depth)
    assert value.dtype == np.float64
    assert value.tolist() == [pytest.approx(expected, abs=1e-15)]


KERNELS: list[tuple[str, Callable[[list[bool], int, int], float]]] = [
    ("hit_rate", lambda rel, r, k: float(any(rel[:k]))),
    ("recall", lambda rel, r, k: sum(rel[:k]) / r),
    ("precision", lambda rel, r, k: sum(rel[:k]) / k),
    ("average_precision", lambda rel, r, k: average_precision(rel[:k]) / r),
    ("average_precision_min", lambda rel, r, k: average_precision(rel[:k]) / min(k, r)),
    ("ndcg", lambda rel, r, k: gain(rel[:k]) / gain([True] * min(k, r))),
    ("average_precision_at_r", lambda rel, r, k: average_precision(rel[:r]) / r),
    ("r_precision", lambda rel, r, k: sum(rel[:r]) / r),
    ("reciprocal_rank", lambda rel, r, k: 1 / (1 + rel.index(True)) if any(rel) else 0.0),
]


def average_precision(rel: list[bool]) -> float:
    return sum(sum(rel[: at + 1]) / (at + 1) for at, hit in enumerate(rel) if hit)


def gain(rel: list[bool]) -> float:
    return sum(1 / math.log2(at + 2) for at, hit in enumerate(rel) if hit)


@pytest.mark.parametrize(("name", "oracle"), KERNELS, ids=[name for name, _ in KERNELS])
@pytest.mark.parametrize("k", [1, 4, 20, 50])
def test_a_metric_agrees_with_its_formula(
    name: str, oracle: Callable[[list[bool], int, int], float], k: int
) -> None:
    rng = np.random.default_rng(k)
    relevance = rng.random((40, 20)) < rng.random((40, 1)) * 0.5
    relevant = relevance.sum(axis=1) + rng.integers(1, 15, 40)
    kernel = getattr(neighbors, name)
    depth = (k,) if name not in ("average_precision_at_r", "r_precision", "reciprocal_rank") else ()
    values = kernel(relevance, relevant, *depth)
    pairs = zip(relevance.tolist(), relevant.tolist(), strict=True)
    np.testing.assert_allclose(values, [oracle(rel, r, k) for rel, r in pairs], atol=1e-14)
    for convert in CONVERTERS:
        again = kernel(convert(relevance), convert(relevant), *depth)
        np.testing.assert_array_equal(np.asarray(again), values)


def test_the_majority_label_is_that_of_most_then_of_the_nearest() -> None:
    labels = np.array([[5, 2, 2], [2, 5, 7], [7, -1, -1], [-1, -1, -1], [0, 0, 5]])
    for convert in CONVERTERS:
        assert neighbors.majority(convert(labels), 3).tolist() == [2, 2, 7, -1, 0]
        assert neighbors.majority(convert(labels), 2).tolist() == [5, 2, 7, -1, 0]
        assert neighbors.majority(convert(labels), 9).tolist() == [2, 2, 7, -1, 0]


def test_the_majority_is_that_of_a_count() -> None:
    labels = np.random.default_rng(1).integers(-1, 5, (300, 9))
    for k in (1, 2, 5, 9):
        expected = []
        for row in labels[:, :k].tolist():
            voters = [label for label in row if label >= 0] or [-1]
            expected.append(max(dict.fromkeys(voters), key=voters.count))  # of equals the first
        for convert in CONVERTERS:
            assert neighbors.majority(convert(labels), k).tolist() == expected


@pytest.mark.parametrize("k", [1, 2, 5, 9])
@pytest.mark.parametrize("slack", [0, 2])
def test_weighted_votes_are_those_of_a_sum(k: int, slack: int) -> None:
    rng = np.random.default_rng(2)
    labels, weights = rng.integers(-1, 5, (300, 9)), rng.integers(0, 5, (300, 9))
    expected = []
    for row, own in zip(labels[:, :k].tolist(), weights.tolist(), strict=True):
        votes: dict[int, int] = {}
        for label, weight in zip(row, own, strict=False):
            if label >= 0:
                votes[label] = votes.get(label, 0) + weight
        most = max(votes.values(), default=0)
        expected.append(next((x for x in votes if votes[x] >= most - slack), -1))
    for convert in CONVERTERS:
        found = neighbors.majority(convert(labels), k, convert(weights), slack)
        assert found.tolist() == expected


def test_graded_ndcg_is_the_discounted_gain_over_the_best() -> None:
    gains = np.array([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    best = np.array([[4.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    half, third = 1 / math.log2(3), 1 / 2
    first = (2 * half + third) / (4 + 2 * half + third)
    for convert in CONVERTERS:
        values = neighbors.graded_ndcg(convert(gains), convert(best))
        np.testing.assert_allclose(values, [first, 1.0, 0.0, 0.0], rtol=1e-15)
        assert values[1] == 1.0


def test_a_list_of_no_neighbours_has_the_value_0() -> None:
    relevance = np.zeros((2, 0), bool)
    relevant = np.array([1, 3])
    for name in ("hit_rate", "recall", "precision", "average_precision", "ndcg"):
        assert getattr(neighbors, name)(relevance, relevant, 5).tolist() == [0.0, 0.0]
    for name in ("average_precision_at_r", "r_precision", "reciprocal_rank"):
        assert getattr(neighbors, name)(relevance, relevant).tolist() == [0.0, 0.0]
