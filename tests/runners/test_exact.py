"""One evaluation is exact, whatever the batch size, workers, devices or order."""

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from milepost.inferencers import ClassificationError, ScalarStats
from milepost.runners import InferenceRunner, evaluate

wrong = torch.tensor([0.0] * 8 + [1.0, 1.0])
BATCHES = [wrong[:4], wrong[4:8], wrong[8:]]


class Same(nn.Module):
    """Gives its input, and counts its forward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.calls = itertools.count()

    def forward(self, input: torch.Tensor) -> dict[str, torch.Tensor]:
        next(self.calls)
        return {"wrong": input * self.scale, "loss": input.mean()}


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(wrong)


class Unsized:
    def __iter__(self) -> Iterator[Any]:
        return iter(BATCHES)


def error_of(data: Any, **options: Any) -> dict[str, float]:
    return evaluate(Same(), data, [ClassificationError(wrong="wrong")], **options)


EXACT = {"validation/error": 0.2}


@pytest.mark.parametrize("prefetch", [0, 1, 10])
@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
def test_batches_of_4_4_2_with_0_0_2_wrong_give_a_fifth(prefetch: int, replicas: int) -> None:
    for source in (BATCHES, Unsized(), iter(BATCHES)):
        assert error_of(source, prefetch=prefetch, placement=["cpu"] * replicas) == EXACT


class Indexed:
    """Rows that are read by an index; it notes the threads that read."""

    shape, dtype = (10,), np.float32

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def __getitem__(self, rows: slice) -> Any:
        self.threads.add(threading.current_thread().name)
        return wrong.numpy()[rows]


class InMemory(Indexed):
    def __dlpack__(self) -> Any: ...


@pytest.mark.parametrize(
    ("source", "prefetch", "thread"),
    [
        (Indexed(), 2, "milepost-prefetch"),
        (Indexed(), 0, "MainThread"),
        (InMemory(), 2, "MainThread"),
    ],
)
def test_only_what_does_not_lie_in_memory_is_loaded_ahead(
    source: Indexed, prefetch: int, thread: str
) -> None:
    assert error_of({"input": source}, prefetch=prefetch, batch_size=4) == EXACT
    assert source.threads == {thread}


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 64])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    assert error_of(TensorDataset(wrong), batch_size=batch_size) == EXACT
    assert error_of({"input": wrong.numpy()}, batch_size=batch_size) == EXACT
    assert error_of(Stream(), batch_size=batch_size) == EXACT


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_number_of_workers_changes_nothing(workers: int) -> None:
    assert error_of(TensorDataset(wrong), batch_size=4, num_workers=workers) == EXACT
    assert error_of(DataLoader(Stream(), batch_size=4, num_workers=workers)) == EXACT


def test_a_loss_that_is_a_mean_of_its_batch_counts_by_samples() -> None:
    assert evaluate(Same(), BATCHES, [ScalarStats("loss")]) == {"validation/loss": 0.2}
    unweighted = evaluate(Same(), BATCHES, [ScalarStats("loss", weighted=False)])
    assert unweighted == {"validation/loss": pytest.approx(1 / 3)}


def test_several_inferencers_cause_one_forward_pass_a_batch() -> None:
    model = Same()
    inferencers = [ClassificationError(wrong="wrong"), ScalarStats("wrong"), ScalarStats("loss")]
    evaluate(model, BATCHES, inferencers)
    assert next(model.calls) == len(BATCHES)


def test_three_runs_on_a_constant_model_give_identical_numbers() -> None:
    model = Same()
    runner = InferenceRunner(BATCHES, [ClassificationError(wrong="wrong"), ScalarStats("loss")])
    first, *others = (runner.maybe_run(model, epoch=epoch) for epoch in (1, 2, 3))
    assert first is not None
    assert all(other == first for other in others)


def test_out_of_memory_halves_the_batch_and_goes_on() -> None:
    sizes = []

    def forward(model: nn.Module, batch: Any) -> dict[str, Any]:
        sizes.append(len(batch["input"]))
        if sizes[-1] > 2:
            msg = "out of memory"
            raise torch.OutOfMemoryError(msg)
        return {"wrong": batch["input"]}

    data = TensorDataset(wrong)
    assert error_of(data, batch_size=5, forward=forward) == EXACT
    assert sizes == [5, 3, 2, 1, 2, 2, 2, 1]


def test_out_of_memory_with_a_single_row_is_raised() -> None:
    def forward(model: nn.Module, batch: Any) -> dict[str, Any]:
        msg = "out of memory"
        raise torch.OutOfMemoryError(msg)

    with pytest.raises(torch.OutOfMemoryError, match=r"^out of memory$"):
        error_of(BATCHES, forward=forward)


def test_names_choose_between_batch_and_model() -> None:
    class Labels(nn.Module):
        def forward(self, input: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"label": input + 1}

    data = {"input": np.zeros(3), "label": np.ones(3) * 5}
    metrics = evaluate(Labels(), data, [ScalarStats("batch.label", "model.label")])
    assert sorted(metrics.values()) == [1.0, 5.0]


def test_an_inner_layer_can_be_fetched() -> None:
    model = nn.Sequential(nn.Identity(), nn.Flatten(0), nn.Linear(10, 1))
    metrics = evaluate(model, [wrong.reshape(10, 1)], [ScalarStats("1")])
    assert metrics == {"validation/1": pytest.approx(0.2)}


def test_two_inferencers_with_one_name_and_metric_are_told_apart() -> None:
    inferencers = [ClassificationError(wrong="wrong"), ClassificationError(wrong="input")]
    assert evaluate(Same(), [{"input": wrong}], inferencers) == {
        "validation/classification_error/error": 0.2,
        "validation/classification_error_2/error": 0.2,
    }


def test_names_that_are_numbered_already_are_told_apart_too() -> None:
    names = ("r", "r_2", "r", "r")
    inferencers = [ScalarStats("wrong", name=name) for name in names]
    metrics = evaluate(Same(), BATCHES, inferencers)
    assert list(metrics) == [f"validation/{name}/wrong" for name in ("r", "r_2", "r_3", "r_4")]


def test_bfloat16_outputs_reach_an_inferencer_as_float32() -> None:
    metrics = evaluate(
        nn.Linear(1, 1, bias=False).requires_grad_(requires_grad=False),
        [torch.ones(3, 1)],
        [ScalarStats("output")],
        autocast="bfloat16",
    )
    assert list(metrics) == ["validation/output"]


def test_metrics_are_named_by_their_runner() -> None:
    assert error_of(BATCHES, name="held out") == {"held out/error": 0.2}
