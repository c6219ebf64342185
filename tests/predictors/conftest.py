"""What the tests of the predictors share."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def net() -> Any:
    """A model in the midst of its training: its statistics are not those of its birth."""
    from tests.predictors.torch_side import TorchSide

    return TorchSide().net()


@pytest.fixture
def image() -> Any:
    import torch

    return torch.randn(3, 4)
