"""Retrieval by any distance: the definitions, and the values of pytorch-metric-learning."""

import math
from typing import Any

import numpy as np
import pytest
from pytorch_metric_learning import distances as peers
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

from milepost.errors import UnknownNameError
from milepost.inferencers import Retrieval
from milepost.neighbors import CosineSimilarity, DistanceMeasure, LpDistance, SNRDistance
from tests.inferencers.ranking_oracle import ranks
from tests.inferencers.rounds import assert_same, evaluate, run, split, table
from tests.inferencers.test_retrieval import assert_oracle

K = (1, 3, 80)
OURS: list[DistanceMeasure] = [
    LpDistance(p=1),
    LpDistance(p=3, normalize_embeddings=False),
    LpDistance(normalize_embeddings=False),
    SNRDistance(normalize_embeddings=False),
]
THEIRS = [
    peers.LpDistance(p=1),
    peers.LpDistance(p=3, normalize_embeddings=False),
    peers.LpDistance(normalize_embeddings=False),
    peers.SNRDistance(normalize_embeddings=False),
]


def rows_of(seed: int, count: int = 70, dimension: int = 6) -> Any:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, count)
    centres = np.random.default_rng(0).standard_normal((6, dimension))
    embeddings = (centres[labels] + rng.standard_normal((count, dimension))).astype(np.float32)
    return table("query", embeddings, labels, rng.permutation(2 * count)[:count])


@pytest.mark.parametrize("distance", [*OURS, LpDistance(p=math.inf), CosineSimilarity()], ids=repr)
def test_the_gallery_ranks_by_the_values_of_the_distance(distance: DistanceMeasure) -> None:
    rows = rows_of(1)
    values = distance.matrix(rows["output"], rows["output"])
    expected: dict[str, dict[Any, float]] = {}
    for at, label in enumerate(rows["label"]):
        keys = -values[at] if distance.is_inverted else values[at]
        order = [i for i in np.lexsort((rows["id"], keys)) if i != at]
        hits = (rows["label"][order] == label).astype(float)
        for name, value in ranks(hits, int(hits.sum()), K).items():
            expected.setdefault(name, {})[at] = value
    metrics = ["hit_rate", "recall", "precision", "map", "map_min", "map@r", "r_precision", "mrr"]

    def make() -> Retrieval:
        return Retrieval(k=K, metrics=metrics, distance=distance)

    whole = evaluate(make, rows)
    assert_oracle(whole, expected, rows)
    shares = split(rows, 3, 5)
    assert_same(run([make() for _ in shares], *shares, block=11), whole)


@pytest.mark.parametrize(("ours", "theirs"), list(zip(OURS, THEIRS, strict=True)))
def test_values_agree_with_pytorch_metric_learning(ours: DistanceMeasure, theirs: Any) -> None:
    rows = rows_of(2, 200, 12)
    calculator = AccuracyCalculator(k=None, knn_func=CustomKNN(theirs, batch_size=64))
    names = {
        "hit_rate@1": "precision_at_1",
        "r_precision": "r_precision",
        "map@r": "mean_average_precision_at_r",
        "mrr": "mean_reciprocal_rank",
    }
    expected = calculator.get_accuracy(rows["output"], rows["label"], include=names.values())
    metrics = evaluate(lambda: Retrieval(k=1, distance=ours), rows)
    for name, peer in names.items():
        assert metrics[name] == pytest.approx(expected[peer], abs=2e-6)


@pytest.mark.parametrize("distance", OURS, ids=repr)
def test_neighbours_are_shown_with_their_values(distance: DistanceMeasure) -> None:
    rows = rows_of(3)
    at = {own: position for position, own in enumerate(rows["id"])}
    tables = []
    for shares in ([[rows]], split(rows, 2, 9)):
        workers = [Retrieval(k=2, distance=distance) for _ in shares]
        for worker in workers:
            worker.keep_evidence = True
        run(workers, *shares)
        for near in (worker.evidence()["neighbors"] for worker in workers):
            pairs = [[at[own] for own in near[name]] for name in ("id", "neighbor")]
            values = distance.pairwise(*(rows["output"][pair] for pair in pairs))
            np.testing.assert_array_equal(near["score"], -values)
            tables.append(near)
    assert len(tables[0]["id"]) == 5 * 70


def test_votes_may_be_weighted_by_any_distance() -> None:
    rows = rows_of(4)
    distance = LpDistance(p=1, normalize_embeddings=False)
    metrics = evaluate(lambda: Retrieval(k=7, distance=distance, vote="distance"), rows)
    values = distance.matrix(rows["output"], rows["output"]).astype(np.float64)
    np.fill_diagonal(values, np.inf)
    near = np.argsort(values, axis=1)[:, :7]
    votes = np.zeros((70, 6))
    for column in near.T:
        votes[np.arange(70), rows["label"][column]] += 1 / values[np.arange(70), column]
    expected = (votes.argmax(axis=1) == rows["label"]).mean()
    assert metrics["knn_accuracy@7"] == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"^`vote='distance'` needs 'l2', 'cosine' or another dis"):
        Retrieval(distance="dot", vote="distance")


def test_what_is_no_distance_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match=r"^unknown distance 'l1'; pass LpDistance\(p=1\)"):
        Retrieval(distance="l1")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=r"^unknown distance \['l2'\]; "):
        Retrieval(distance=["l2"])  # type: ignore[arg-type]
