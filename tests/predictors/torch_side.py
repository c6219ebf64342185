"""The net of the contract in PyTorch."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from tests.predictors.sides import Array, Side


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


class TorchSide(Side):
    inners = ("drop", "head", "trunk", "trunk.0", "trunk.1", "trunk.2", "twice")
    home = "cpu"

    def net(self) -> Net:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = Net()
            net(torch.randn(8, 4))
        return net

    def tensor(self, array: Array) -> Tensor:
        return torch.tensor(array)

    def infer(self, net: Any, image: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            outputs: dict[str, Tensor] = copy.deepcopy(net).eval()(image)
        return outputs

    def state(self, net: Any) -> dict[str, Array]:
        flags = {f"{name}.training": part.training for name, part in net.named_modules()}
        hooks = {f"{name}.hooks": bool(x._forward_hooks) for name, x in net.named_modules()}
        return {x: y.numpy().copy() for x, y in net.state_dict().items()} | flags | hooks

    def averaged(self, net: Any) -> tuple[Any, Any]:
        return nn.Identity(), AveragedModel(net)

    def weightless(self) -> Any:
        return nn.ReLU()

    def bfloat16(self) -> tuple[Any, dict[str, Any]]:
        return self.net(), {"autocast": "bfloat16"}
