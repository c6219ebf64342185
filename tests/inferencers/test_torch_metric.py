import copy
import re
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics import (
    CatMetric,
    MaxMetric,
    MeanMetric,
    Metric,
    MetricCollection,
    PearsonCorrCoef,
)
from torchmetrics.classification import (
    BinaryAUROC,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)
from torchmetrics.image import PeakSignalNoiseRatio
from torchmetrics.text import CharErrorRate
from torchmetrics.wrappers import ClasswiseWrapper

import milepost as mp
from milepost.inferencers import TorchMetric


def rows_of(seed: int, count: int = 60) -> Any:
    rng = np.random.default_rng(seed)
    return {
        "id": np.arange(count),
        "output": torch.from_numpy(rng.normal(size=(count, 5)).astype(np.float32)),
        "label": torch.from_numpy(rng.integers(0, 5, count)),
        "value": torch.from_numpy(rng.normal(size=count).astype(np.float32)),
        "target": torch.from_numpy(rng.normal(size=count).astype(np.float32)),
        "binary": torch.from_numpy(rng.integers(0, 2, count)),
    }


METRICS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "sums": (lambda: MulticlassF1Score(5), ("output", "label")),
    "lists": (lambda: BinaryAUROC(), ("value", "binary")),
    "gathered": (lambda: PearsonCorrCoef(), ("value", "target")),
    "maximum": (lambda: MaxMetric(), ("value",)),
    "of equal means": (lambda: PeakSignalNoiseRatio(data_range=4.0), ("value", "target")),
    "composed": (lambda: MeanMetric() + 2 * MaxMetric(), ("value",)),
    "wrapped": (lambda: ClasswiseWrapper(MulticlassAccuracy(5, average=None)), ("output", "label")),
}


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("sizes", [(60,), (20, 40), (7, 0, 30, 23), (0, 60)])
def test_workers_give_the_value_of_all_rows(kind: str, sizes: tuple[int, ...]) -> None:
    make, names = METRICS[kind]
    rows = rows_of(0)
    metric = make()
    metric.update(*(rows[name] for name in names))
    expected = metric.compute()
    workers = [TorchMetric(make(), *names) for _ in sizes]
    start = 0
    for worker, size in zip(workers, sizes, strict=True):
        for first in range(start, start + size, 8):
            some = slice(first, min(first + 8, start + size))
            worker.update({name: column[some] for name, column in rows.items()})
        start += size
    workers[0].merge([worker.state() for worker in workers[1:]])
    if not isinstance(expected, dict):
        expected = {workers[0].name: expected}
    assert workers[0].compute() == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-5
    )


def test_a_collection_gives_its_names() -> None:
    collection = MetricCollection({"a": MulticlassAccuracy(5), "b": MulticlassF1Score(5)})
    inferencer = TorchMetric(collection.clone(prefix="top/"))
    inferencer.update(rows_of(1))
    collection.update(rows_of(1)["output"], rows_of(1)["label"])
    expected = {f"top/{name}": value.item() for name, value in collection.compute().items()}
    assert inferencer.compute() == expected


def test_the_metric_that_is_passed_is_not_touched() -> None:
    metric = MulticlassAccuracy(5)
    metric.update(rows_of(0)["output"], rows_of(0)["label"])
    before: Any = copy.deepcopy(metric.metric_state)
    inferencer = TorchMetric(metric)
    inferencer.update(rows_of(1))
    inferencer.compute()
    for name, value in before.items():
        assert torch.equal(getattr(metric, name), value)
    fresh = TorchMetric(MulticlassAccuracy(5))
    fresh.update(rows_of(1))
    assert inferencer.compute() == fresh.compute()


def test_no_metric_synchronises_by_itself() -> None:
    inferencer = TorchMetric(MeanMetric() + MaxMetric(), "value")
    inferencer.update(rows_of(0))
    parts = [part for _, part in inferencer._parts()]
    assert len(parts) == 3
    assert not any(part._to_sync for part in parts)


def test_strings_come_as_a_list() -> None:
    inferencer = TorchMetric(CharErrorRate(), "said", "meant")
    texts = {"said": np.array(["cat", "dog"]), "meant": np.array(["cat", "fog"])}
    inferencer.update({"id": np.arange(2), **texts})
    assert inferencer.compute() == pytest.approx({"char_error_rate": 1 / 6})


def test_a_value_that_is_no_scalar_is_named_by_the_runner() -> None:
    rows = rows_of(0)
    data = {"output": rows["output"], "label": rows["label"]}
    metric = TorchMetric(MulticlassConfusionMatrix(5))
    message = "inferencer 'multiclass_confusion_matrix' computed a Tensor for"
    with pytest.warns(RuntimeWarning, match=message):
        assert mp.evaluate(None, data, [metric]) == {}


def test_a_state_that_is_a_mean_cannot_be_merged() -> None:
    class Average(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("level", torch.tensor(0.0), dist_reduce_fx="mean")

        def update(self, value: torch.Tensor) -> None:
            self.level = value.mean()

        def compute(self) -> torch.Tensor:
            return self.level

    one, other = (TorchMetric(Average(), "value") for _ in range(2))
    one.update(rows_of(0))
    other.update(rows_of(1))
    message = (
        "`metric` must have states that add up over workers, got Average with a mean of 'level'; "
        "let one process evaluate, or wrap a metric of sums"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        one.merge([other.state()])


def test_gradients_are_not_kept() -> None:
    rows = rows_of(0)
    rows["value"].requires_grad_()
    inferencer = TorchMetric(CatMetric(), "value")
    inferencer.update(rows)
    assert not any(value.requires_grad for value in inferencer.state()[""]["value"])


def test_only_metrics_of_torchmetrics_are_wrapped() -> None:
    with pytest.raises(TypeError, match=r"^`metric` must be one of torchmetrics, got str$"):
        TorchMetric("accuracy")


def test_without_torchmetrics_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    message = 'torchmetrics is not installed; pip install "milepost[torchmetrics]" brings it'
    with pytest.raises(ImportError, match=f"^{re.escape(message)}$"):
        TorchMetric("accuracy")
