"""What every kind of predictor keeps."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from milepost.errors import UnknownNameError
from milepost.predictors import OfflinePredictor, Predictor, get_predictor, to_numpy

Make = Callable[..., Predictor]

KINDS: dict[str, Make] = {
    "live": get_predictor,
    "snapshot": lambda model, **how: get_predictor(model, weights="snapshot", **how),
    "ema": lambda model, **how: get_predictor(
        nn.Identity(), weights="ema", ema=AveragedModel(model), **how
    ),
    "replica": lambda model, **how: get_predictor(model, **how).replicate("cpu"),
    "sibling": lambda model, **how: get_predictor(model, **(how | {"outputs": None})).fetching(
        how.get("outputs")
    ),
    "off-line": lambda model, **how: OfflinePredictor(
        copy.deepcopy(model), model.state_dict(), **how
    ),
}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Make:
    return KINDS[request.param]


@pytest.fixture
def expected(net: nn.Module, image: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        outputs: dict[str, Tensor] = copy.deepcopy(net).eval()(image)
    return outputs


def test_it_gives_the_numbers_of_the_model_in_inference_mode(
    make: Make, net: nn.Module, image: Tensor, expected: dict[str, Tensor]
) -> None:
    outputs = make(net)({"image": image})
    assert list(outputs) == ["embedding", "logits"]
    for name, value in expected.items():
        assert torch.equal(outputs[name], value)


def test_outputs_are_those_asked_for_in_that_order(
    make: Make, net: nn.Module, image: Tensor, expected: dict[str, Tensor]
) -> None:
    predictor = make(net, outputs=["logits", "head"])
    outputs = predictor(image)
    assert list(outputs) == ["logits", "head"]
    assert torch.equal(outputs["head"], expected["logits"])
    assert predictor.outputs == ("logits", "head")
    assert predictor.own_outputs == ("embedding", "logits")


def test_an_unknown_output_names_the_nearest(make: Make, net: nn.Module, image: Tensor) -> None:
    with pytest.raises(UnknownNameError) as raised:
        make(net, outputs=["embeding"])(image)
    assert str(raised.value) == (
        "unknown output 'embeding'; did you mean 'embedding'? There are: 'drop', 'embedding', "
        "'head', 'logits', 'trunk', 'trunk.0', 'trunk.1', 'trunk.2', 'twice'"
    )


def test_a_scope_around_batches_gives_what_calls_give(
    make: Make, net: nn.Module, image: Tensor
) -> None:
    predictor = make(net)
    with predictor.scope():
        within = [predictor.forward(image[:1]), predictor.forward(image[1:])]
    for part, rows in zip(within, (image[:1], image[1:]), strict=True):
        assert torch.equal(part["logits"], predictor(rows)["logits"])


def test_three_calls_give_identical_numbers(make: Make, net: nn.Module, image: Tensor) -> None:
    predictor = make(net, outputs="logits")
    first, second, third = (predictor(image)["logits"] for _ in range(3))
    assert torch.equal(first, second)
    assert torch.equal(first, third)


def test_numpy_and_tensors_give_the_same(make: Make, net: nn.Module, image: Tensor) -> None:
    predictor = make(net)
    assert torch.equal(predictor(image)["logits"], predictor(image.numpy())["logits"])


def test_weights_are_those_that_are_examined(make: Make, net: nn.Module) -> None:
    weights = make(net).weights()
    assert list(weights) == list(net.state_dict())
    for name, value in net.state_dict().items():
        assert torch.equal(weights[name], value)
        assert not weights[name].requires_grad


def test_a_model_without_weights_runs_on_the_cpu(make: Make) -> None:
    predictor = make(nn.ReLU())
    assert predictor(np.array([-1, 2], np.float32))["output"].tolist() == [0, 2]
    assert predictor.device == torch.device("cpu")


def test_outputs_become_numpy(make: Make, net: nn.Module, image: Tensor) -> None:
    predictor = make(net, autocast="bfloat16")
    logits = predictor(image)["logits"]
    array = to_numpy(logits)
    assert logits.dtype == torch.bfloat16
    assert array.dtype == np.float32
    assert array.tolist() == logits.tolist()


def test_the_model_is_left_as_it_was(make: Make, net: nn.Module, image: Tensor) -> None:
    before = _everything(net)
    predictor = make(net, outputs=["logits", "head"])
    predictor(image)
    with pytest.raises(TypeError):
        predictor({"image": "not an array"})
    after = _everything(net)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(after[name]))


def _everything(model: nn.Module) -> dict[str, Any]:
    flags = {f"{name}.training": part.training for name, part in model.named_modules()}
    hooks = {f"{name}.hooks": bool(x._forward_hooks) for name, x in model.named_modules()}
    return {x: y.clone() for x, y in model.state_dict().items()} | flags | hooks
