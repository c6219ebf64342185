"""What outputs are called, and how they are found."""

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from milepost.errors import UnknownNameError
from milepost.predictors import get_predictor

X = torch.ones(1, 2)
ONE, TWO = torch.tensor([1.0]), torch.tensor([2.0])


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


@dataclasses.dataclass
class Record:
    first: Tensor
    second: Tensor


class Giving(nn.Module):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value
        self.first = nn.Identity()

    def forward(self, x: Tensor) -> Any:
        self.first(x)
        return self.value


def _numbers(outputs: dict[str, Any]) -> dict[str, float]:
    return {name: value.item() for name, value in outputs.items()}


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({"first": ONE, "second": TWO}, ["first", "second"]),
        (OrderedDict(first=ONE, second=TWO), ["first", "second"]),
        ({0: ONE, 1: TWO}, ["0", "1"]),
        (Pair(ONE, TWO), ["first", "second"]),
        (Record(ONE, TWO), ["first", "second"]),
        ((ONE, TWO), ["0", "1"]),
        ([ONE, TWO], ["0", "1"]),
    ],
)
def test_outputs_are_named_by_what_the_model_returns(value: Any, names: list[str]) -> None:
    predictor = get_predictor(Giving(value))
    assert _numbers(predictor(X)) == dict(zip(names, (1, 2), strict=True))
    assert predictor.own_outputs == tuple(names)
    assert predictor.outputs is None
    assert _numbers(get_predictor(Giving(value), outputs=[1])(X)) == {"1": 2}
    assert _numbers(get_predictor(Giving(value), outputs=["1"])(X)) == {"1": 2}
    assert _numbers(get_predictor(Giving(value), outputs=names[1])(X)) == {names[1]: 2}


def test_a_lone_tensor_is_called_output() -> None:
    assert _numbers(get_predictor(Giving(ONE))(X)) == {"output": 1}
    assert _numbers(get_predictor(Giving(ONE), outputs=0)(X)) == {"0": 1}


def test_an_own_output_comes_before_an_inner_module_of_the_same_name() -> None:
    assert _numbers(get_predictor(Giving(Pair(ONE, TWO)), outputs="first")(X)) == {"first": 1}


def test_an_inner_module_comes_before_a_position() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    outputs = get_predictor(model, outputs=["0", 0])
    assert outputs.outputs == ("0", "0")
    assert get_predictor(model, outputs="0")(X)["0"].shape == (1, 3)
    assert get_predictor(model, outputs=0)(X)["0"].shape == (1, 1)


def test_a_part_of_a_nested_output_has_a_dotted_name() -> None:
    model = Giving({"states": (ONE, TWO), "pair": Pair(ONE, TWO)})
    outputs = get_predictor(model, outputs=["states.1", "pair.first"])(X)
    assert _numbers(outputs) == {"states.1": 2, "pair.first": 1}


def test_a_position_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(UnknownNameError) as raised:
        get_predictor(Giving(ONE), outputs=[1])(X)
    assert str(raised.value) == "unknown output '1'; there are: 'first', 'output'"


def test_no_outputs_asked_gives_none() -> None:
    assert get_predictor(Giving(ONE), outputs=())(X) == {}


def test_a_module_that_is_called_twice_gives_its_last_output(net: nn.Module, image: Tensor) -> None:
    outputs = get_predictor(net, outputs=["twice", "embedding"])(image)
    assert torch.equal(outputs["twice"], outputs["embedding"])


def test_an_inner_output_is_what_it_was_before_a_later_operation_in_place() -> None:
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(inplace=True))
    outputs = get_predictor(model, outputs=["0"])(X)
    assert torch.equal(outputs["0"], model[0](X).detach())
    assert outputs["0"].min() < 0


def test_an_inner_module_with_several_outputs_must_be_asked_for_one() -> None:
    model = nn.Sequential(OrderedDict(lstm=nn.LSTM(2, 3)))
    with pytest.raises(ValueError, match="several") as raised:
        get_predictor(model, outputs="lstm")(X)
    assert str(raised.value) == (
        "inner module 'lstm' gave several outputs; choose one: 'lstm.0', 'lstm.1'"
    )
    assert get_predictor(model, outputs="lstm.0")(X)["lstm.0"].shape == (1, 3)
    with pytest.raises(UnknownNameError):
        get_predictor(model, outputs="lstm.2")(X)


def test_an_inner_module_that_gives_one_thing_in_a_tuple_gives_that_thing() -> None:
    model = nn.Sequential(Giving((ONE,)))
    assert _numbers(get_predictor(model, outputs="0")(X)) == {"0": 1}


def test_an_inner_module_that_does_not_run_is_an_error() -> None:
    model = nn.Linear(2, 2)
    model.spare = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="spare") as raised:
        get_predictor(model, outputs="spare")(X)
    assert str(raised.value) == "inner module 'spare' did not run in this forward pass"


def test_the_nearest_name_of_an_inner_module_is_told() -> None:
    model = nn.Sequential(OrderedDict(stem=nn.Identity(), layer4=nn.Sequential(nn.Identity())))
    with pytest.raises(UnknownNameError) as raised:
        get_predictor(model, outputs="layer4.o")(X)
    assert str(raised.value) == (
        "unknown output 'layer4.o'; did you mean 'layer4.0'? "
        "There are: 'layer4', 'layer4.0', 'output', 'stem'"
    )


def test_inner_modules_can_be_had_from_a_forward_of_the_user() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Identity())
    predictor = get_predictor(model, outputs=["y", "0"], forward=lambda model, x: {"y": model(x)})
    outputs = predictor(X)
    assert torch.equal(outputs["y"], outputs["0"])


@pytest.mark.parametrize("outputs", ["0", None])
def test_no_hook_is_left_also_when_the_forward_pass_fails(outputs: str | None) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(3, 3))
    with pytest.raises(RuntimeError):
        get_predictor(model, outputs=outputs)(X)
    assert not any(part._forward_hooks for part in model.modules())


@pytest.mark.parametrize("outputs", [["scale"], None])
def test_an_output_that_is_a_parameter_is_a_copy(outputs: Any) -> None:
    scale = nn.Parameter(torch.ones(1))
    give: Callable[..., dict[str, Tensor]] = lambda model, batch: {"scale": scale}  # noqa: E731
    output = get_predictor(nn.Identity(), outputs=outputs, forward=give)(X)["scale"]
    with torch.no_grad():
        scale.zero_()
    assert output.item() == 1
    assert not output.requires_grad
