"""Tensors as the rows of pair inferencers."""

from typing import Any

import numpy as np
import pytest
import torch

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
