"""Values agree with those of pytorch-metric-learning and torchmetrics."""

from typing import Any

import numpy as np
import pytest
import torch
from pytorch_metric_learning import distances as peer_distances
from pytorch_metric_learning.utils.inference import MatchFinder as PeerMatchFinder
from torchmetrics.functional.retrieval import retrieval_normalized_dcg

from milepost import neighbors
from milepost.neighbors import (
    CosineSimilarity,
    DistanceMeasure,
    LpDistance,
    MatchFinder,
    SNRDistance,
)
from tests.neighbors.filtered import normal


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CosineSimilarity", {}),
        ("DotProductSimilarity", {"normalize_embeddings": False}),
        ("DotProductSimilarity", {"normalize_embeddings": True}),
        ("SNRDistance", {}),
        ("SNRDistance", {"normalize_embeddings": False}),
        *(
            ("LpDistance", {"p": p, "power": power, "normalize_embeddings": normalize})
            for p in (1, 1.5, 2, 3)
            for power, normalize in ((1, True), (2, False))
        ),
    ],
    ids=str,
)
def test_values_agree_with_the_peer(name: str, options: dict[str, Any]) -> None:
    query, ref = torch.from_numpy(normal(2, 30, 16)), torch.from_numpy(normal(3, 40, 16))
    expected = getattr(peer_distances, name)(**options)(query, ref)
    torch.testing.assert_close(
        getattr(neighbors, name)(**options).matrix(query, ref), expected, rtol=2e-5, atol=2e-5
    )


@pytest.mark.parametrize(
    ("measure", "peer", "threshold"),
    [
        (CosineSimilarity(), peer_distances.CosineSimilarity(), 0.1),
        (LpDistance(p=1), peer_distances.LpDistance(p=1), 0.8),
        (
            LpDistance(normalize_embeddings=False),
            peer_distances.LpDistance(normalize_embeddings=False),
            5.0,
        ),
        (SNRDistance(), peer_distances.SNRDistance(), 2.0),
    ],
    ids=str,
)
def test_matches_agree_with_the_peers_matrix(
    measure: DistanceMeasure, peer: Any, threshold: float
) -> None:
    query, ref = torch.from_numpy(normal(2, 50, 16)), torch.from_numpy(normal(3, 60, 16))
    assert (abs(measure.matrix(query, ref) - threshold) > 2e-6).all()
    ours, theirs = MatchFinder(measure, threshold), PeerMatchFinder(peer, threshold)
    expected = theirs.get_matching_pairs(query, ref)
    np.testing.assert_array_equal(ours.get_matching_pairs(query, ref), expected)
    pairs = theirs.get_matching_pairs(query, ref, return_tuples=True)
    assert ours.get_matching_pairs(query, ref, return_tuples=True) == pairs
    np.testing.assert_array_equal(ours.is_match(query, ref[:50]), expected.diagonal())


def test_ndcg_agrees_with_torchmetrics() -> None:
    relevance = np.random.default_rng(0).random((30, 12)) < 0.3
    relevance[:, -1] = True  # torchmetrics wants one in each list
    ours = neighbors.ndcg(relevance, relevance.sum(axis=1), 5)
    ranked = torch.arange(12, 0, -1).float()
    theirs = [
        float(retrieval_normalized_dcg(ranked, torch.from_numpy(row), top_k=5)) for row in relevance
    ]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
