"""Training with evaluations is training without them, to the bit."""

import random
import threading
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from milepost import errors
from milepost.callbacks import Loop
from milepost.inferencers import Inferencer, MatchRate, Retrieval
from milepost.runners import InferenceRunner

generator = torch.Generator().manual_seed(0)
images = torch.randn(64, 6, generator=generator)
labels = torch.randint(0, 4, (64,), generator=generator)
held_out = TensorDataset(torch.randn(20, 6, generator=generator), torch.arange(20) % 4)


class Noisy(Dataset[Any]):
    """Held-out data whose loading draws from every global generator."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Any:
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        return held_out[index][0] + noise, held_out[index][1]


class Net(nn.Module):
    """Dropout, a BatchNorm in training, a frozen one, and a tensor kept over calls."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3))
        self.frozen = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 4)
        self.kept: torch.Tensor | None = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.frozen(self.body(input))
        if self.kept is not None and self.kept.shape == hidden.shape:
            hidden = hidden + 0.1 * self.kept.detach()
        self.kept = hidden
        output: torch.Tensor = self.head(hidden)
        return output


def inferencers() -> list[Inferencer]:
    return [Retrieval(k=(1, 5)), MatchRate(far=(0.1,))]


def failing(model: nn.Module, batch: Any) -> Any:
    model(batch["input"])
    torch.rand(3)
    msg = "broken"
    raise OSError(msg)


def train(runner: InferenceRunner | None) -> tuple[dict[str, Any], list[bool], list[Any]]:
    """Return weights, flags and generator states after a training with the runner attached."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    model = Net()
    model.frozen.eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True)
    with Loop(model, callbacks=[runner] if runner else [], monitors=[]) as loop:
        for _ in loop.epochs(3):
            for image, label in loop.steps(loader):
                optimizer.zero_grad()
                torch.autograd.backward(nn.functional.cross_entropy(model(image), label))
                optimizer.step()
    slots = {f"slot {i}": s["momentum_buffer"] for i, s in optimizer.state_dict()["state"].items()}
    flags = [part.training for part in model.modules()]
    states = [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]  # type: ignore[index]
    return {**model.state_dict(), **slots}, flags, states


RUNNERS: dict[str, dict[str, Any]] = {
    "every step": {"every": "1 step"},
    "without prefetch": {"every": "1 epoch", "prefetch": 0},
    "with a worker": {"every": "1 epoch", "num_workers": 1},
    "on replicas": {"every": "2 steps", "placement": ["cpu", "cpu"]},
    "on a snapshot": {"every": "2 steps", "weights": "snapshot"},
    "in bfloat16": {"every": "2 steps", "autocast": "bfloat16"},
    "checked": {"every": "2 steps", "trace_check": True},
}


@pytest.fixture(scope="module")
def without() -> Any:
    return train(None)


@pytest.mark.parametrize("name", RUNNERS)
def test_training_with_evaluations_gives_the_weights_of_training_without(
    name: str, without: Any
) -> None:
    threads, children = threading.active_count(), psutil.Process().children()
    weights, flags, states = train(InferenceRunner(Noisy(), inferencers(), **RUNNERS[name]))
    assert all(torch.equal(value, without[0][key]) for key, value in weights.items())
    assert (flags, states) == without[1:]
    assert threading.active_count() == threads
    assert psutil.Process().children() == children


def test_an_evaluation_that_raises_leaves_no_trace_either(without: Any) -> None:
    runner = InferenceRunner(
        Noisy(), inferencers(), every="2 steps", forward=failing, on_error="warn"
    )
    with pytest.warns(RuntimeWarning, match="OSError: broken"):
        weights, flags, states = train(runner)
    assert all(torch.equal(value, without[0][key]) for key, value in weights.items())
    assert (flags, states) == without[1:]


def test_an_inferencer_that_draws_random_numbers_leaves_no_trace(without: Any) -> None:
    class Random(Inferencer):
        name = "random"
        fetches = ("label",)

        def reset(self) -> None:
            torch.rand(1)

        def update(self, rows: Any) -> None:
            random.random()

        def state(self) -> Any:
            return {}

        def merge(self, states: Any) -> None: ...

        def compute(self) -> dict[str, float]:
            return {"drawn": np.random.rand()}

    weights, _, states = train(InferenceRunner(Noisy(), [Random()]))
    assert all(torch.equal(value, without[0][key]) for key, value in weights.items())
    assert states == without[2]


def test_no_handle_stays_open_after_a_run() -> None:
    model = Net()
    runner = InferenceRunner(Noisy(), inferencers(), num_workers=1)
    runner.maybe_run(model, epoch=1)
    before = psutil.Process().num_fds()
    for epoch in range(2, 6):
        runner.maybe_run(model, epoch=epoch)
    assert psutil.Process().num_fds() <= before


def test_no_hook_stays_on_the_model() -> None:
    model = Net()
    runner = InferenceRunner(held_out, [Retrieval(embeddings="body.0")])
    assert runner.maybe_run(model, epoch=1)
    assert not any(part._forward_hooks for part in model.modules())


def test_a_model_that_changes_itself_is_found_by_the_trace_check() -> None:
    class Learner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, input: torch.Tensor) -> torch.Tensor:
            self.weight.add_(1)
            return input

    runner = InferenceRunner(held_out, inferencers(), trace_check=True)
    with pytest.raises(errors.TraceError, match="'weight'"):
        runner.maybe_run(Learner(), epoch=1)


def test_an_evaluation_in_the_middle_of_a_step_does_not_break_its_backward() -> None:
    model = Net()
    runner = InferenceRunner(held_out, inferencers(), every="1 step")
    loss = nn.functional.cross_entropy(model(images), labels)
    assert runner.maybe_run(model, step=1)
    torch.autograd.backward(loss)
    torch.autograd.backward(nn.functional.cross_entropy(model(images), labels))
