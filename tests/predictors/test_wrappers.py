"""Models that are wrapped for their training are examined as they were written."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch._dynamo.utils import counters
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from milepost.predictors import get_predictor

Wrap = Callable[[nn.Module], nn.Module]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[None]:
    """A world of one process."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'world'}", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()
    counters.clear()


def _compile(model: nn.Module) -> nn.Module:
    compiled: nn.Module = torch.compile(model, backend="eager")  # type: ignore[assignment]
    return compiled


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    "wrap",
    [
        DistributedDataParallel,
        nn.DataParallel,
        AveragedModel,
        _compile,
        lambda model: _compile(DistributedDataParallel(model)),
        lambda model: DistributedDataParallel(_compile(model)),
        lambda model: AveragedModel(nn.DataParallel(_compile(model))),
    ],
)
@pytest.mark.parametrize("weights", ["live", "snapshot"])
def test_a_wrapper_does_not_run(wrap: Wrap, weights: Any, net: nn.Module, image: Tensor) -> None:
    model = wrap(net)
    ran: list[nn.Module] = []
    model.register_forward_pre_hook(lambda module, _: ran.append(module))
    outputs = get_predictor(model, outputs=["logits", "trunk.0"], weights=weights)(image)
    expected = copy.deepcopy(net).eval()
    assert torch.equal(outputs["logits"], expected(image)["logits"])
    assert not ran
    assert not counters["stats"]


@pytest.mark.parametrize("weights", ["live", "snapshot"])
def test_nothing_compiles_again(weights: Any, net: nn.Module, image: Tensor) -> None:
    model = _compile(net)
    model(image)
    predictor = get_predictor(model, weights=weights)
    before = copy.deepcopy(counters["stats"])
    predictor(image)
    model(image)
    assert counters["stats"] == before


class Outer(nn.Module):
    """Holds wrapped layers, and knows that they are wrapped."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x)
        return output


class Scaling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


@pytest.mark.parametrize("weights", ["live", "snapshot"])
def test_a_compiled_layer_runs_as_it_was_written(weights: Any) -> None:
    model = Outer(_compile(nn.Sequential(nn.Linear(2, 2), nn.Dropout())))
    predictor = get_predictor(model, outputs=["output", "layer.0", "layer"], weights=weights)
    outputs = predictor(torch.ones(1, 2))
    assert not counters["stats"]
    assert torch.equal(outputs["output"], outputs["layer.0"])
    assert torch.equal(outputs["output"], outputs["layer"])
    assert list(predictor.weights()) == ["layer.0.weight", "layer.0.bias"]
    model(torch.ones(1, 2))
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("weights", ["live", "snapshot"])
def test_a_layer_compiled_in_place_runs_as_it_was_written(weights: Any) -> None:
    model = Outer(Scaling())
    model.layer.compile(backend="eager")
    get_predictor(model, weights=weights)(torch.ones(1, 2))
    assert not counters["stats"]
    model(torch.ones(1, 2))
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("weights", ["live", "snapshot"])
def test_a_compiled_forward_runs_as_it_was_written(weights: Any) -> None:
    model = Scaling()
    model.forward = torch.compile(model.forward, backend="eager")  # type: ignore[method-assign]
    predictor = get_predictor(model, weights=weights)
    x = torch.ones(1, 2)
    outputs = predictor(x)["output"]
    assert not counters["stats"]
    with torch.no_grad():
        assert torch.equal(outputs, model(x))
        model.scale.zero_()
    follows = torch.equal(predictor(x)["output"], model(x).detach())
    assert follows == (weights == "live")


@pytest.mark.usefixtures("world")
def test_a_layer_under_ddp_does_not_communicate(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Outer(DistributedDataParallel(nn.BatchNorm1d(2)))
    monkeypatch.setattr(DistributedDataParallel, "forward", None)
    assert get_predictor(model)(torch.ones(1, 2))["output"].shape == (1, 2)
