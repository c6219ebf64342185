"""Rows of one source that say themselves which role they play."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from milepost.errors import CoverageError, UnknownNameError
from milepost.inferencers import ClassificationError, Inferencer, MatchRate, Retrieval, ScalarStats
from milepost.runners import evaluate

rng = np.random.default_rng(0)
ROWS = 23
embeddings = rng.integers(-2, 3, (ROWS, 4)).astype(np.float32)
labels = rng.integers(0, 4, ROWS)
roles = np.where(rng.random(ROWS) < 0.4, "query", "gallery")
COLUMNS: dict[str, Any] = {"input": embeddings, "label": labels, "role": roles}


class Same(nn.Module):
    """Gives its input, and counts the rows of its forward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(input))
        return input


class Items(Dataset[Any]):
    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> Any:
        return {name: column[index] for name, column in COLUMNS.items()}


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return (tuple(column[i] for column in COLUMNS.values()) for i in range(ROWS))


def batches(size: int) -> list[dict[str, Any]]:
    starts = range(0, ROWS, size)
    return [{name: x[at : at + size] for name, x in COLUMNS.items()} for at in starts]


def pairs() -> list[Inferencer]:
    return [Retrieval(k=(1, 3), distance="l2"), MatchRate(far=(0.1,))]


def by_role() -> dict[str, float]:
    """The metrics of a source for each role, with the same ids."""
    sources = {
        role: {
            "input": embeddings[roles == role],
            "label": labels[roles == role],
            "id": np.flatnonzero(roles == role),
        }
        for role in ("query", "gallery")
    }
    return evaluate(Same(), sources, pairs(), inputs=("input",))


@pytest.mark.usefixtures("coarse_grid")
@pytest.mark.parametrize("size", [1, 4, ROWS])
@pytest.mark.parametrize("placement", [None, ["cpu", "cpu"]])
def test_rows_play_the_role_that_they_say(size: int, placement: Any) -> None:
    sources: list[tuple[Any, dict[str, Any]]] = [
        (COLUMNS, {"batch_size": size}),
        (batches(size), {}),
        (Items(), {"batch_size": size}),
        (DataLoader(Items(), batch_size=size), {"num_workers": 2 if size == 4 else 0}),
        (DataLoader(Stream(), batch_size=size), {"fields": ("input", "label", "role")}),
    ]
    for data, options in sources:
        inputs = {"inputs": ("input",), "placement": placement}
        assert evaluate(Same(), data, pairs(), **inputs, **options) == by_role()


def test_a_mixed_batch_is_forwarded_once() -> None:
    model = Same()
    evaluate(model, COLUMNS, pairs(), batch_size=5, inputs=("input",))
    assert model.sizes == [5, 5, 5, 5, 3]


def test_an_inferencer_is_given_the_rows_of_its_roles() -> None:
    inferencers = [ScalarStats("label"), ClassificationError(k=(1,)), *pairs()]
    metrics = evaluate(Same(), COLUMNS, inferencers, batch_size=4, inputs=("input",))
    assert metrics["validation/label"] == pytest.approx(labels[roles == "query"].mean())
    wrong = embeddings.argmax(axis=1) != labels
    assert metrics["validation/error@1"] == wrong[roles == "query"].mean()


def test_roles_may_be_given_as_a_list() -> None:
    mean = ScalarStats("label")
    mean.roles = ["query"]  # type: ignore[assignment]
    metrics = evaluate(Same(), COLUMNS, [mean, *pairs()], batch_size=4, inputs=("input",))
    assert metrics["validation/label"] == pytest.approx(labels[roles == "query"].mean())


def test_a_batch_that_is_too_large_is_halved_with_its_roles() -> None:
    def forward(model: Any, batch: Any) -> Any:
        if len(batch["input"]) > 3:
            raise MemoryError
        return {"output": batch["input"]}

    assert evaluate(Same(), COLUMNS, pairs(), batch_size=8, forward=forward) == by_role()


def test_a_role_that_no_inferencer_looks_at_is_an_error_that_names_the_row() -> None:
    named = {**COLUMNS, "role": np.where(np.arange(ROWS) == 17, "galery", roles)}
    message = r"^unknown role \(of the row with id 17\) 'galery'; did you mean 'gallery'\? "
    for prefetch in (0, 2):
        with pytest.raises(UnknownNameError, match=message):
            evaluate(Same(), named, pairs(), inputs=("input",), batch_size=4, prefetch=prefetch)
    with pytest.raises(UnknownNameError, match=r"\(of the row with id \d+\) 'gallery'; there are:"):
        evaluate(Same(), COLUMNS, [ClassificationError(k=(1,))], inputs=("input",))


@pytest.mark.parametrize("wrong", [np.arange(ROWS), roles[:, None]])
def test_a_role_that_is_no_name_is_an_error(wrong: Any) -> None:
    message = r"^the field `role` must hold one name, such as 'query' or 'gallery', for each of the"
    with pytest.raises(ValueError, match=message):
        evaluate(Same(), {**COLUMNS, "role": wrong}, pairs(), inputs=("input",))


def test_a_source_without_queries_gives_a_warning_and_no_metric() -> None:
    data = {**COLUMNS, "role": np.full(ROWS, "gallery")}
    message = "^validation: the source of role 'query' is empty; nothing is logged$"
    with pytest.warns(RuntimeWarning, match=message):
        assert evaluate(Same(), data, pairs(), inputs=("input",)) == {}


def test_the_coverage_is_that_of_the_source() -> None:
    twice = {**COLUMNS, "id": np.arange(ROWS) % 20}
    with pytest.raises(CoverageError, match=r"role 'query' declares 23 samples, .* .duplicated: 3"):
        evaluate(Same(), twice, pairs(), inputs=("input",))
    with pytest.raises(CoverageError, match="declares 24 samples, but 23 were seen"):
        evaluate(Same(), batches(5), pairs(), inputs=("input",), size=24)


def test_bytes_say_the_role_too() -> None:
    data = {**COLUMNS, "role": roles.astype("S")}
    assert evaluate(Same(), data, pairs(), inputs=("input",)) == by_role()
    mixed = itertools.chain(batches(5))
    assert evaluate(Same(), mixed, pairs(), inputs=("input",)) == by_role()
