"""The predicate that model code may read."""

import threading

import pytest
import torch
from torch import Tensor, nn

from milepost.predictors import get_predictor, is_training


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if is_training() else -x


X = torch.ones(1)


def test_it_is_false_only_inside_the_forward_pass() -> None:
    predictor = get_predictor(Branching())
    assert is_training()
    with predictor.scope():
        assert is_training()
        assert predictor.forward(X)["output"].item() == -1
    assert is_training()
    assert Branching()(X).item() == 1


def test_it_is_true_again_after_a_forward_pass_that_failed() -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        get_predictor(Failing())(X)
    assert is_training()


def test_a_predictor_in_another_thread_does_not_change_it() -> None:
    inside, asked = threading.Event(), threading.Event()
    seen: list[bool] = []

    def forward(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        inside.set()
        assert asked.wait(10)
        seen.append(is_training())
        return {}

    thread = threading.Thread(target=get_predictor(nn.Identity(), forward=forward), args=(X,))
    thread.start()
    assert inside.wait(10)
    seen.append(is_training())
    asked.set()
    thread.join()
    assert seen == [True, False]


def test_a_compiled_model_may_read_it_in_training() -> None:
    torch._dynamo.reset()
    model = Branching()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert compiled(X).item() == 1
    assert get_predictor(compiled)(X)["output"].item() == -1
    assert compiled(X).item() == 1


def test_a_compiled_function_inside_a_model_reads_it_right() -> None:
    torch._dynamo.reset()
    branch = torch.compile(Branching().forward, backend="eager")

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = branch(x)
            return output

    model = Model()
    assert model(X).item() == 1
    assert get_predictor(model)(X)["output"].item() == -1
    assert model(X).item() == 1
