"""Models that the tests of the predictors share."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn


class Net(nn.Module):
    """Two outputs, batch normalisation, dropout, and a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True))
        self.drop = nn.Dropout()
        self.twice = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        embedding = self.twice(self.twice(self.drop(self.trunk(image))))
        return {"embedding": embedding, "logits": self.head(embedding)}


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def net() -> Net:
    """A model in the midst of its training: its statistics are not those of its birth."""
    net = Net()
    net(torch.randn(8, 4))
    return net


@pytest.fixture
def image() -> Tensor:
    return torch.randn(3, 4)
