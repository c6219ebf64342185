"""Which entries of a batch reach the model, and as what."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import milepost
from milepost.errors import UnknownNameError
from milepost.predictors import get_predictor


class Recorder(nn.Module):
    """Gives what it was called with."""

    def __init__(self, signature: Callable[..., dict[str, Any]]) -> None:
        super().__init__()
        self.forward = signature


BATCH = {"b": np.array([2]), "a": np.array([1]), "label": np.array([3])}


def _passed(signature: Callable[..., dict[str, Any]], batch: Any, inputs: Any = None) -> Any:
    return get_predictor(Recorder(signature), inputs)(batch)


def test_parameters_choose_from_the_batch_by_name() -> None:
    passed = _passed(lambda a, b, c=None: {"a": a, "b": b, "c": c}, BATCH)
    assert passed == {"a": torch.tensor([1]), "b": torch.tensor([2]), "c": None}


def test_optional_parameters_that_are_in_the_batch_are_passed() -> None:
    assert _passed(lambda a, label=None: {"label": label}, BATCH)["label"].item() == 3


def test_positional_only_and_keyword_only_parameters_are_passed_as_such() -> None:
    def signature(a: Any, /, *, b: Any, **rest: Any) -> dict[str, Any]:
        return {"a": a, "b": b, "rest": rest}

    assert _passed(signature, BATCH) == {"a": 1, "b": 2, "rest": {}}


def test_a_lone_entry_and_a_bare_array_go_by_position() -> None:
    assert _passed(lambda x: {"x": x}, {"image": np.array([7])})["x"].item() == 7
    assert _passed(lambda x: {"x": x}, np.array([7]))["x"].item() == 7
    assert _passed(lambda x: {"x": x}, torch.tensor([7]))["x"].item() == 7


def test_inputs_go_by_keyword_if_each_is_a_parameter() -> None:
    passed = _passed(lambda a, b: {"a": a, "b": b}, BATCH, ["b", "a"])
    assert (passed["a"].item(), passed["b"].item()) == (1, 2)


def test_inputs_go_by_position_otherwise() -> None:
    passed = _passed(lambda x, b: {"x": x, "b": b}, BATCH, ["a", "b"])
    assert (passed["x"].item(), passed["b"].item()) == (1, 2)
    assert _passed(lambda *x: {"count": len(x)}, BATCH, ["a", "b"]) == {"count": 2}


def test_a_single_input_may_be_a_string() -> None:
    assert _passed(lambda x: {"x": x}, BATCH, "label")["x"].item() == 3


def test_an_input_that_is_not_in_the_batch_is_an_error() -> None:
    with pytest.raises(UnknownNameError) as raised:
        _passed(lambda x: {}, BATCH, ["lable"])
    assert str(raised.value) == (
        "unknown input 'lable'; did you mean 'label'? There are: 'a', 'b', 'label'"
    )


def test_a_required_parameter_that_is_not_in_the_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="image") as raised:
        _passed(lambda image, a=0: {}, BATCH)
    assert str(raised.value) == (
        "the model takes 'image', 'a' (required: 'image'), but the batch has 'b', 'a', 'label'; "
        "choose what goes to the model, for example `inputs=('b',)`"
    )


def test_a_signature_that_names_nothing_of_the_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="choose what goes to the model"):
        _passed(lambda *args, **keywords: {}, BATCH)


def test_an_empty_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^the batch is empty$"):
        _passed(lambda x: {}, {})


def test_a_tuple_is_no_batch() -> None:
    with pytest.raises(TypeError, match="mapping") as raised:
        get_predictor(nn.Identity())((torch.ones(1), torch.ones(1)))
    assert str(raised.value) == (
        "`batch` must be a mapping of names to arrays, or one array, got tuple; "
        "name its elements, for example {'image': batch[0]}"
    )


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0)[::-1],
        np.broadcast_to(np.float32(3), (2, 2)),
        np.arange(3, dtype=">i4"),
        np.frombuffer(b"abc", np.uint8),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.array(5),
    ],
)
def test_any_numeric_array_becomes_a_tensor_without_a_warning(array: np.ndarray[Any, Any]) -> None:
    output = get_predictor(nn.Identity())(array)["output"]
    assert isinstance(output, Tensor)
    assert output.tolist() == array.tolist()


def test_a_forward_of_the_user_gets_the_whole_batch_as_tensors() -> None:
    seen: list[Any] = []

    def forward(model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        seen.append(batch)
        return {"embedding": model(batch["images"][0])}

    batch = {
        "images": [np.ones((1, 2), np.float32)],
        "names": np.array(["cat"]),
        "meta": {"size": torch.ones(1)},
        "text": "a cat",
    }
    outputs = get_predictor(nn.Linear(2, 2), outputs=["embedding", ""], forward=forward)
    with pytest.raises(UnknownNameError):
        outputs(batch)
    assert isinstance(seen[0]["images"][0], Tensor)
    assert isinstance(seen[0]["meta"]["size"], Tensor)
    assert seen[0]["names"] is batch["names"]
    assert seen[0]["text"] == "a cat"


def test_a_forward_of_the_user_must_give_a_mapping() -> None:
    predictor = get_predictor(nn.Identity(), forward=lambda model, batch: model(batch))
    with pytest.raises(TypeError, match="mapping") as raised:
        predictor(torch.ones(1))
    assert str(raised.value) == (
        "`forward` must return a mapping of output names to tensors, got Tensor"
    )


def test_a_forward_of_the_user_leaves_no_inputs_to_choose() -> None:
    with pytest.raises(ValueError, match="give only one"):
        get_predictor(nn.Identity(), "x", forward=lambda model, batch: {})


@pytest.mark.parametrize("make", [get_predictor, milepost.OfflinePredictor])
def test_a_model_of_no_framework_is_an_error(make: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="model") as raised:
        make(dict)
    assert str(raised.value) == (
        "`model` must be a torch.nn.Module, a Keras model, a tf.Module or a tf.function, "
        "got builtins.type"
    )


def test_weights_are_of_three_kinds() -> None:
    with pytest.raises(ValueError, match="weights") as raised:
        get_predictor(nn.Identity(), weights="averaged")  # type: ignore[arg-type]
    assert str(raised.value) == "`weights` must be 'live', 'snapshot' or 'ema', got 'averaged'"
