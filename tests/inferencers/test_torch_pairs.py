"""Tensors as the rows of pair inferencers, and the values of pytorch-metric-learning."""

from typing import Any

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from milepost.inferencers import MatchRate, Retrieval
from tests.inferencers.rounds import assert_same, clustered, evaluate, table


@pytest.mark.parametrize("distance", ["cosine", "dot", "l2"])
def test_match_rates_of_tensors_are_those_of_arrays(distance: Any) -> None:
    rows = clustered(8, 60)
    tensors = {**rows, **{name: torch.from_numpy(rows[name]) for name in ("output", "label")}}
    make = lambda: MatchRate(distance=distance)  # noqa: E731
    assert_same(evaluate(make, tensors), evaluate(make, rows))


@pytest.mark.parametrize("distance", ["cosine", "dot", "l2"])
def test_retrieval_of_tensors_is_that_of_arrays(distance: Any) -> None:
    rng = np.random.default_rng(4)
    embeddings = rng.standard_normal((80, 16)).astype(np.float32)
    labels = rng.integers(0, 6, 80)
    make = lambda: Retrieval(distance=distance)  # noqa: E731
    arrays = evaluate(make, table("query", embeddings, labels))
    tensors = table("query", torch.from_numpy(embeddings), torch.from_numpy(labels))
    assert_same(evaluate(make, tensors), arrays)
    halves = torch.from_numpy(embeddings).to(torch.bfloat16).requires_grad_()
    rounded = halves.detach().float().numpy()
    assert_same(
        evaluate(make, table("query", halves, labels)),
        evaluate(make, table("query", rounded, labels)),
    )


def test_values_agree_with_pytorch_metric_learning() -> None:
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((7, 12))
    labels = rng.integers(0, 7, 200)
    embeddings = (centres[labels] + rng.standard_normal((200, 12))).astype(np.float32)
    for average in ("sample", "class"):
        theirs = AccuracyCalculator(k=None, avg_of_avgs=average == "class").get_accuracy(
            embeddings, labels, include=("precision_at_1", "r_precision", *PEER.values())
        )
        ours = evaluate(
            lambda: Retrieval(k=(1, 199), distance="l2", average=average),  # noqa: B023
            table("query", embeddings, labels),
        )
        assert ours["hit_rate@1"] == pytest.approx(theirs["precision_at_1"], abs=1e-9)
        assert ours["r_precision"] == pytest.approx(theirs["r_precision"], abs=1e-9)
        for name, peer in PEER.items():
            assert ours[name] == pytest.approx(theirs[peer], abs=2e-6)


PEER = {
    "map@199": "mean_average_precision",
    "map@r": "mean_average_precision_at_r",
    "mrr": "mean_reciprocal_rank",
}
