"""What a training does not notice of an examination."""

import random
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from milepost.errors import TraceError
from milepost.predictors import get_predictor

X = torch.ones(1, 2)


class Acting(nn.Module):
    """Does something to itself in each forward pass."""

    calls: Tensor
    second: Tensor

    def __init__(self, act: Callable[[Any], object]) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("second", torch.ones(3))
        self.cached: Tensor | None = None
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        self.act(self)
        output: Tensor = self.layer(x)
        return output


def _noisy(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    torch.rand(3)
    np.random.rand(3)
    random.random()
    return {"output": model(batch)}


@pytest.mark.parametrize("weights", ["live", "snapshot"])
def test_training_with_examinations_gives_the_same_bits(
    weights: Literal["live", "snapshot"],
) -> None:
    batches = torch.randn(6, 8, 4)

    def train(*, examined: bool) -> list[Tensor]:
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        for batch in batches:
            loss = net(batch).square().mean()
            if examined:  # between forward and backward, where it is hardest
                get_predictor(net, outputs="1", forward=_noisy, weights=weights)(batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        slots = [slot["momentum_buffer"] for slot in optimizer.state.values()]
        return [*net.state_dict().values(), *slots]

    assert all(map(torch.equal, train(examined=False), train(examined=True)))


@pytest.mark.parametrize(
    "draw",
    [
        random.random,
        lambda: random.gauss(0, 1),
        lambda: float(np.random.rand()),
        lambda: float(np.random.randn()),
        lambda: float(torch.rand(())),
        lambda: float(torch.randn(())),
    ],
)
def test_a_global_generator_goes_on_as_if_nothing_was_drawn(draw: Callable[[], float]) -> None:
    def reseed() -> None:
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)
        draw()

    model = Acting(lambda _: draw())
    reseed()
    expected = draw()
    reseed()
    get_predictor(model)(X)
    assert draw() == expected


def test_each_flag_is_given_back_and_a_frozen_layer_stays_frozen(
    net: nn.Module, image: Tensor
) -> None:
    net.train()
    net.get_submodule("trunk.1").eval()
    net.get_submodule("head").eval()
    before = {name: part.training for name, part in net.named_modules()}
    seen: list[bool] = []
    hook = net.register_forward_hook(lambda *_: seen.extend(m.training for m in net.modules()))
    get_predictor(net)(image)
    hook.remove()
    assert set(seen) == {False}
    assert {name: part.training for name, part in net.named_modules()} == before


def test_overridden_train_and_eval_are_not_called() -> None:
    class Fusing(nn.Linear):
        def train(self, mode: bool = True) -> "Fusing":
            raise AssertionError

    assert get_predictor(Fusing(2, 2))(X)["output"].shape == (1, 2)


def _rebind(model: Acting) -> None:
    model.calls = model.calls + 1


def _delete(model: Acting) -> None:
    del model.calls


def _register(model: Acting) -> None:
    model.register_buffer("third", torch.ones(1), persistent=False)


def _add_layer(model: Acting) -> None:
    model.extra = nn.Linear(1, 1)


@pytest.mark.parametrize(
    "act",
    [
        lambda model: model.calls.add_(1),
        lambda model: model.calls.data.add_(1),
        lambda model: model.second.resize_(5).zero_(),
        lambda model: model.second.mul_(float("nan")),
        _rebind,
        _delete,
        _register,
        _add_layer,
    ],
)
def test_buffers_that_a_forward_pass_changes_are_given_back(act: Callable[[Any], object]) -> None:
    model = Acting(act)
    calls, second = model.calls, model.second
    get_predictor(model)(X)
    assert model.calls is calls
    assert model.second is second
    assert calls.item() == 0
    assert second.tolist() == [1, 1, 1]
    assert list(model.state_dict()) == ["calls", "second", "layer.weight", "layer.bias"]
    assert [name for name, _ in model.named_modules()] == ["", "layer"]
    assert not model._non_persistent_buffers_set


def test_restoring_a_buffer_does_not_break_a_pending_backward() -> None:
    model = Acting(lambda _: None)
    factor = torch.ones(3, requires_grad=True)
    model.second.fill_(float("nan"))  # never equal to itself, so always written back
    loss = (factor * model.second).sum()
    get_predictor(model)(X)
    loss.backward()  # type: ignore[no-untyped-call]
    assert factor.grad is not None


def test_sparse_buffers_are_given_back() -> None:
    model = Acting(lambda model: model.graph._values().zero_())
    model.register_buffer("graph", torch.eye(2).to_sparse())
    get_predictor(model)(X)
    assert torch.equal(model.get_buffer("graph").to_dense(), torch.eye(2))


def test_a_state_carried_from_batch_to_batch_is_given_back() -> None:
    def carry(model: Acting) -> None:
        model.cached = torch.zeros(1) if model.cached is None else model.cached + 1

    model = Acting(carry)
    model(X)
    hidden = model.cached
    get_predictor(model)(X)
    assert model.cached is hidden


def test_a_tensor_cached_by_an_examination_does_not_break_the_next_backward() -> None:
    cache: dict[str, Tensor] = {}

    def use(model: Acting) -> None:
        if "mask" not in cache:
            cache["mask"] = model.layer.weight * 1
        model.cached = (cache["mask"] * model.layer.weight).sum()

    model = Acting(use)
    get_predictor(model)(X)
    (model(X).sum() + model.cached).backward()
    assert model.layer.weight.grad is not None


def test_a_tensor_cached_in_training_does_not_break_the_next_backward() -> None:
    def cache(model: Acting) -> None:
        model.cached = model.layer.weight.square().sum()

    model = Acting(cache)
    model(X)
    cached = model.cached
    get_predictor(model)(X)
    assert cached is not None
    assert model.cached is cached
    cached.backward()  # type: ignore[no-untyped-call]
    assert model.layer.weight.grad is not None


@pytest.mark.parametrize("enabled", [True, False])
def test_grad_mode_is_given_back_also_when_the_forward_pass_fails(enabled: bool) -> None:
    def fail(model: Acting) -> None:
        torch.set_grad_enabled(not enabled)
        raise ZeroDivisionError

    with torch.set_grad_enabled(enabled):
        with pytest.raises(ZeroDivisionError):
            get_predictor(Acting(fail))(X)
        assert torch.is_grad_enabled() is enabled


def test_no_gradient_is_recorded_though_the_caller_records() -> None:
    outputs = get_predictor(nn.Linear(2, 2))(X)
    assert not outputs["output"].requires_grad


def test_inference_mode_of_the_caller_makes_no_inference_tensors() -> None:
    tensors: list[Tensor] = []
    model = Acting(lambda model: tensors.append(model.layer.weight * 1))
    with torch.inference_mode():
        get_predictor(model)(X)
        get_predictor(model, weights="snapshot")(X)
        assert torch.is_inference_mode_enabled()
    assert not any(tensor.is_inference() for tensor in tensors)


@pytest.mark.parametrize("asked", [None, "bfloat16", torch.bfloat16])
def test_autocast_is_as_asked_inside_and_as_it_was_outside(asked: Any) -> None:
    predictor = get_predictor(nn.Linear(2, 2), autocast=asked)
    with torch.autocast("cpu", torch.float16):
        output = predictor(X)["output"]
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.float16
    assert output.dtype == (torch.float32 if asked is None else torch.bfloat16)
    assert predictor(X)["output"].dtype == output.dtype
    assert not torch.is_autocast_enabled("cpu")


def test_casts_made_under_autocast_do_not_cut_the_gradients_of_the_caller() -> None:
    layer = nn.Linear(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        get_predictor(layer, autocast="bfloat16")(X)
        layer(X).sum().backward()
    assert layer.weight.grad is not None


def test_autocast_must_be_a_floating_dtype() -> None:
    with pytest.raises(ValueError, match="autocast") as raised:
        get_predictor(nn.Linear(2, 2), autocast="int8")
    assert str(raised.value) == (
        "`autocast` must be a floating dtype or its name, such as 'bfloat16', got 'int8'"
    )


def test_scopes_nest() -> None:
    model = Acting(lambda model: model.calls.add_(1))
    predictor = get_predictor(model)
    with predictor.scope():
        predictor.forward(X)
        with predictor.scope():
            predictor.forward(X)
            assert model.calls.item() == 2
        assert model.calls.item() == 1
        assert not model.training
        predictor(X)
    assert model.calls.item() == 0
    assert model.training


def test_everything_is_given_back_when_the_forward_pass_fails() -> None:
    def fail(model: Acting) -> None:
        model.calls.add_(1)
        _add_layer(model)
        torch.rand(1)
        raise ZeroDivisionError

    model = Acting(fail)
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        get_predictor(model, outputs="layer")(X)
    assert model.training
    assert model.calls.item() == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert not hasattr(model, "extra")
    assert not any(part._forward_hooks for part in model.modules())


def test_the_array_that_was_passed_is_not_changed() -> None:
    model = nn.ReLU(inplace=True)
    array, tensor = np.array([-1], np.float32), torch.tensor([-1.0])
    assert get_predictor(model)(array)["output"].item() == 0
    assert get_predictor(model)({"x": tensor})["output"].item() == 0
    assert array.item() == tensor.item() == -1


def test_a_layer_that_is_not_initialised_yet_is_an_error() -> None:
    model = nn.Sequential(nn.LazyLinear(2))
    with pytest.raises(ValueError, match="not initialised") as raised:
        get_predictor(model)(X)
    assert str(raised.value) == (
        "the model's '0.weight' is not initialised yet; run one forward pass of the training first"
    )


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_scripted_layer_is_examined_too() -> None:
    model = nn.Sequential(torch.jit.script(nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert get_predictor(model)(torch.ones(3, 2))["output"].shape == (3, 2)
    assert all(part.training for part in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- trace_check ---------------------------------------------------------------------------------


def test_trace_check_names_what_changed_and_still_restores_the_buffers() -> None:
    def change(model: Acting) -> None:
        model.layer.weight.add_(1)
        model.calls.add_(1)

    model = Acting(change)
    predictor = get_predictor(model)
    with pytest.raises(TraceError) as raised, predictor.scope(trace_check=True):
        predictor.forward(X)
    assert str(raised.value) == (
        "the evaluation changed 'layer.weight', 'calls'; "
        "buffers were restored, parameters that were changed in place were not"
    )
    assert model.calls.item() == 0
    assert model.training


def test_trace_check_names_the_first_of_many() -> None:
    def change(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        for weight in model.parameters():
            weight.zero_()
        return {}

    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    predictor = get_predictor(model, forward=change)
    with pytest.raises(TraceError) as raised, predictor.scope(trace_check=True):
        predictor.forward(X)
    assert str(raised.value).startswith(
        "the evaluation changed '0.weight', '0.bias', '1.weight', '1.bias', '2.weight' and 3 more;"
    )


def test_trace_check_is_silent_where_nothing_changed(net: nn.Module, image: Tensor) -> None:
    net.register_buffer("flags", torch.tensor([True]))
    net.register_buffer("bfloat16s", torch.ones(2, dtype=torch.bfloat16))
    net.register_buffer("empty", torch.ones(0))
    net.register_buffer("graph", torch.eye(2).to_sparse())
    predictor = get_predictor(net)
    with predictor.scope(trace_check=True):
        predictor.forward(image)


def test_trace_check_does_not_hide_the_error_of_the_body() -> None:
    model = Acting(lambda model: model.calls.add_(1))
    predictor = get_predictor(model)

    def examine() -> None:
        with predictor.scope(trace_check=True):
            predictor.forward(X)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        examine()


def test_buffers_lent_for_a_scope_are_used_in_it_and_given_back() -> None:
    model = nn.BatchNorm1d(2, affine=False)
    predictor = get_predictor(model)
    lent = {"running_mean": torch.full((2,), 3.0)}
    with predictor.scope(trace_check=True, buffers=lent):
        output = predictor.forward(torch.full((1, 2), 3.0))["output"]
    assert torch.equal(output, torch.zeros(1, 2))
    assert torch.equal(predictor.buffers()["running_mean"], torch.zeros(2))


def test_a_parameter_whose_data_a_forward_pass_replaces_is_given_back() -> None:
    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((2,), 3.0))

        def forward(self, x: Tensor) -> Tensor:
            self.weight.data = self.weight.data / self.weight.data.norm()
            return x * self.weight

    model = Unit()
    get_predictor(model)(torch.ones(2))
    assert model.weight.tolist() == [3.0, 3.0]
