"""Tensors of other types, with gradients, and side by side with arrays."""

from collections.abc import Callable

import numpy as np
import torch

from milepost.neighbors import ExactIndexer, Indexer, LpDistance, pair_scores
from tests.neighbors.filtered import normal
from tests.neighbors.indexes import every_exact


def test_scores_of_bfloat16_are_those_of_float32() -> None:
    halves = torch.from_numpy(normal(10, 5, 4)).to(torch.bfloat16)
    expected = pair_scores(halves.float().numpy(), halves.float().numpy())
    np.testing.assert_array_equal(pair_scores(halves, halves).numpy(), expected)


def test_distances_of_bfloat16_are_float32_without_a_gradient() -> None:
    rows = torch.from_numpy(normal(5, 6, 4)).to(torch.bfloat16).requires_grad_()
    values = LpDistance().matrix(rows, rows)
    assert (values.dtype, values.requires_grad) == (torch.float32, False)


@every_exact
def test_the_result_is_of_the_querys_kind(make: Callable[..., Indexer]) -> None:
    indexer = make()
    indexer.add(np.eye(3, dtype=np.float32))
    indexer.add(torch.eye(3, dtype=torch.bfloat16, requires_grad=True) * 2)
    found = indexer.search(torch.eye(3), 1)
    assert isinstance(found.indices, torch.Tensor)
    assert found.indices.tolist() == [[0], [1], [2]]
    assert isinstance(indexer.search(np.eye(3), 1).indices, np.ndarray)


def test_an_index_of_tensors_takes_arrays() -> None:
    indexer = ExactIndexer()
    indexer.add(torch.eye(3))
    indexer.add(np.eye(3) * 3)
    assert indexer.search(np.eye(3) * 3, 1).indices.tolist() == [[3], [4], [5]]
