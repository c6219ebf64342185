"""What every kind of predictor keeps, whatever framework and style its model is of."""

from typing import Any

import numpy as np
import pytest

from milepost.errors import UnknownNameError
from milepost.predictors import to_numpy
from tests.predictors.sides import KINDS, STYLES, Array, Make, Side, same, side_of

IMAGE: Array = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


@pytest.fixture(params=STYLES)
def side(request: pytest.FixtureRequest) -> Side:
    return side_of(request.param)


@pytest.fixture(params=KINDS)
def make(side: Side, request: pytest.FixtureRequest) -> Make:
    return side.kinds()[request.param]


@pytest.fixture
def net(side: Side) -> Any:
    return side.net()


@pytest.fixture
def image(side: Side) -> Any:
    return side.tensor(IMAGE)


@pytest.fixture
def expected(side: Side, net: Any, image: Any) -> dict[str, Any]:
    return side.infer(net, image)


def test_it_gives_the_numbers_of_the_model_in_inference_mode(
    make: Make, net: Any, image: Any, expected: dict[str, Any]
) -> None:
    outputs = make(net)({"image": image})
    assert list(outputs) == ["embedding", "logits"]
    assert {type(value) for value in outputs.values()} == {type(image)}
    for name, value in expected.items():
        assert to_numpy(outputs[name]) == pytest.approx(to_numpy(value), abs=1e-6)


def test_outputs_are_those_asked_for_in_that_order(
    make: Make, net: Any, image: Any, expected: dict[str, Any]
) -> None:
    predictor = make(net, outputs=["logits", "head"])
    outputs = predictor(image)
    assert list(outputs) == ["logits", "head"]
    assert np.array_equal(outputs["head"], outputs["logits"])
    assert to_numpy(outputs["head"]) == pytest.approx(to_numpy(expected["logits"]), abs=1e-6)
    assert predictor.outputs == ("logits", "head")
    assert predictor.own_outputs == ("embedding", "logits")


def test_an_unknown_output_names_the_nearest(side: Side, make: Make, net: Any, image: Any) -> None:
    with pytest.raises(UnknownNameError) as raised:
        make(net, outputs=["embeding"])(image)
    names = ", ".join(map(repr, sorted([*side.inners, "embedding", "logits"])))
    assert str(raised.value) == (
        f"unknown output 'embeding'; did you mean 'embedding'? There are: {names}"
    )


def test_a_scope_around_batches_gives_what_calls_give(make: Make, net: Any, image: Any) -> None:
    predictor = make(net)
    with predictor.scope():
        within = [predictor.forward(image[:1]), predictor.forward(image[1:])]
    for part, rows in zip(within, (image[:1], image[1:]), strict=True):
        assert np.array_equal(part["logits"], predictor(rows)["logits"])


def test_three_calls_give_identical_numbers(make: Make, net: Any, image: Any) -> None:
    predictor = make(net, outputs="logits")
    first, second, third = (predictor(image)["logits"] for _ in range(3))
    assert np.array_equal(first, second)
    assert np.array_equal(first, third)


def test_numpy_and_tensors_give_the_same(make: Make, net: Any, image: Any) -> None:
    predictor = make(net)
    assert np.array_equal(predictor(image)["logits"], predictor(IMAGE)["logits"])


def test_an_empty_batch_gives_no_rows(make: Make, net: Any, image: Any) -> None:
    assert tuple(make(net)(image[:0])["logits"].shape) == (0, 2)


def test_weights_are_those_that_are_examined(side: Side, make: Make, net: Any) -> None:
    weights = make(net).weights()
    live = side.kinds()["live"](net).weights()
    assert list(weights) == list(live)
    assert same(weights, live)
    held = {np.asarray(value).tobytes() for value in side.state(net).values()}
    assert {to_numpy(value).tobytes() for value in weights.values()} <= held


def test_a_model_without_weights_runs_on_the_cpu(side: Side, make: Make) -> None:
    predictor = make(side.weightless())
    assert predictor(np.array([-1, 2], np.float32))["output"].numpy().tolist() == [0, 2]
    assert str(predictor.device).endswith(side.home)


def test_outputs_become_numpy(side: Side, make: Make, image: Any) -> None:
    net, how = side.bfloat16()
    logits = make(net, **how)(image)["logits"]
    array = to_numpy(logits)
    assert "bfloat16" in str(logits.dtype)
    assert array.dtype == np.float32
    assert array.tolist() == np.asarray(logits.float() if side.home == "cpu" else logits).tolist()


def test_the_model_is_left_as_it_was(side: Side, make: Make, net: Any, image: Any) -> None:
    before = side.state(net)
    predictor = make(net, outputs=["logits", "head"])
    predictor(image)
    with pytest.raises(TypeError):
        predictor({"image": object()})
    assert same(before, side.state(net))
