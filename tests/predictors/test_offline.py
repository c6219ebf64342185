"""Predictors on checkpoints."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from milepost.predictors import OfflinePredictor, get_predictor

X = torch.ones(1, 2)


@pytest.fixture
def trained() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))


@pytest.fixture
def fresh() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))


@pytest.mark.parametrize(
    "nest",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "step": torch.tensor(3)},
        lambda state: {"model_state_dict": state},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
        lambda state: {f"0._orig_mod.{x[2:]}" if x[0] == "0" else x: state[x] for x in state},
    ],
)
def test_a_file_of_torch_gives_the_numbers_of_the_training(
    nest: Callable[[dict[str, Tensor]], Any], trained: nn.Module, fresh: nn.Module, tmp_path: Path
) -> None:
    torch.save(nest(dict(trained.state_dict())), tmp_path / "model.pt")
    off_line = OfflinePredictor(fresh, tmp_path / "model.pt", ["output", "0"], strict=True)
    on_line = get_predictor(trained, outputs=["output", "0"])
    for name, value in on_line(X).items():
        assert torch.equal(off_line(X)[name], value)


def test_a_safetensors_file_gives_the_numbers_of_the_training(
    trained: nn.Module, fresh: nn.Module, tmp_path: Path
) -> None:
    predictor = get_predictor(trained)
    save_file(dict(predictor.weights()), tmp_path / "model.safetensors")
    off_line = OfflinePredictor(fresh, str(tmp_path / "model.safetensors"))
    assert torch.equal(off_line(X)["output"], predictor(X)["output"])


def test_a_missing_safetensors_package_names_the_extra(
    fresh: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match="safetensors") as raised:
        OfflinePredictor(fresh, "model.safetensors")
    assert str(raised.value) == (
        'safetensors is not installed; pip install "milepost[torch]" brings it'
    )


def test_no_checkpoint_means_the_weights_of_now(fresh: nn.Module) -> None:
    expected = fresh(X).detach()
    predictor = OfflinePredictor(fresh)
    with torch.no_grad():
        fresh.get_parameter("0.weight").zero_()
    assert torch.equal(predictor(X)["output"], expected)


def test_the_model_that_is_passed_stays_as_it_is(trained: nn.Module, fresh: nn.Module) -> None:
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    OfflinePredictor(fresh, trained.state_dict())(X)
    assert fresh.training
    assert all(torch.equal(value, before[name]) for name, value in fresh.state_dict().items())


def _partial(trained: nn.Module) -> dict[str, Tensor]:
    state = dict(trained.state_dict())
    state["head.weight"] = state.pop("1.weight")
    return state


NAMES = (
    "`checkpoint` has other names than the model; only in the model: '1.weight'; "
    "only in the checkpoint: 'head.weight'"
)


def test_names_on_one_side_only_are_reported(trained: nn.Module, fresh: nn.Module) -> None:
    with pytest.warns(UserWarning, match="other names") as warned:
        predictor = OfflinePredictor(fresh, _partial(trained))
    assert str(warned[0].message) == NAMES
    assert warned[0].filename == __file__
    weights = predictor.weights()
    assert torch.equal(weights["0.weight"], trained.get_parameter("0.weight"))
    assert torch.equal(weights["1.weight"], fresh.get_parameter("1.weight"))


def test_names_on_one_side_only_are_an_error_if_strict(
    trained: nn.Module, fresh: nn.Module
) -> None:
    with pytest.raises(ValueError, match="other names") as raised:
        OfflinePredictor(fresh, _partial(trained), strict=True)
    assert str(raised.value) == NAMES


def test_no_name_in_common_is_always_an_error(fresh: nn.Module) -> None:
    with pytest.raises(ValueError, match="other names"):
        OfflinePredictor(fresh, {"weight": torch.ones(2)})


def test_shapes_that_differ_are_all_listed(trained: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="shapes") as raised:
        OfflinePredictor(model, trained.state_dict())
    assert str(raised.value) == (
        "`checkpoint` has other shapes than the model: "
        "'0.weight': (3, 2) in the checkpoint, (4, 2) in the model; "
        "'0.bias': (3,) in the checkpoint, (4,) in the model; "
        "'1.weight': (2, 3) in the checkpoint, (2, 4) in the model"
    )


def test_a_tied_weight_is_there_under_any_of_its_names() -> None:
    model: Any = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    predictor = OfflinePredictor(model, {"0.weight": torch.eye(2)}, strict=True)
    assert torch.equal(predictor(X)["output"], X)


@pytest.mark.parametrize("checkpoint", [{"epoch": 3, "optimizer": {}}, {"model": nn.Linear(1, 1)}])
def test_a_checkpoint_without_weights_is_an_error(checkpoint: Any, fresh: nn.Module) -> None:
    with pytest.raises(ValueError, match="must hold a state dict") as raised:
        OfflinePredictor(fresh, checkpoint)
    assert str(raised.value) == (
        "`checkpoint` must hold a state dict, at its top or under one of 'state_dict', "
        f"'model_state_dict', 'model', got {sorted(checkpoint)}; "
        "pass the mapping of names to tensors"
    )


def test_a_file_is_read_without_running_what_is_in_it(fresh: nn.Module, tmp_path: Path) -> None:
    torch.save({"state_dict": fresh.state_dict(), "path": Path("x")}, tmp_path / "model.pt")
    with pytest.raises(Exception, match=r"[Ww]eights.only") as raised:
        OfflinePredictor(fresh, tmp_path / "model.pt")
    assert raised.value.__notes__ == [
        "If you trust the file, load it yourself and pass the names to tensors"
    ]


def test_a_file_that_does_not_exist_is_an_error(fresh: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        OfflinePredictor(fresh, tmp_path / "model.pt")


def test_it_can_be_had_for_another_device(fresh: nn.Module) -> None:
    predictor = OfflinePredictor(fresh, device="meta")
    assert predictor(X)["output"].device == torch.device("meta")


def test_an_offline_predictor_stands_for_its_model() -> None:
    model = nn.Linear(2, 3)
    predictor = OfflinePredictor(model)
    batch = {"input": torch.ones(4, 2)}
    again = get_predictor(predictor)
    assert torch.equal(again(batch)["output"], predictor(batch)["output"])
    with pytest.raises(ValueError, match=r"^`model` is a predictor, which has its options already"):
        get_predictor(predictor, autocast="bfloat16")
