import re
from typing import Any

import keras
import numpy as np
import pytest

import milepost as mp
from milepost.inferencers import KerasMetric


def rows_of(count: int = 50) -> Any:
    rng = np.random.default_rng(0)
    return {
        "id": np.arange(count),
        "output": rng.dirichlet(np.ones(4), count).astype(np.float32),
        "label": rng.integers(0, 4, count),
        "one_hot": np.eye(4, dtype=np.float32)[rng.integers(0, 4, count)],
    }


METRICS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "mean": (lambda: keras.metrics.SparseCategoricalCrossentropy(), ("label", "output")),
    "counts": (lambda: keras.metrics.AUC(), ("one_hot", "output")),
    "made by the first batch": (
        lambda: keras.metrics.F1Score(average="macro"),
        ("one_hot", "output"),
    ),
}


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("sizes", [(50,), (13, 37), (0, 30, 20)])
def test_workers_give_the_value_of_all_rows(kind: str, sizes: tuple[int, ...]) -> None:
    make, names = METRICS[kind]
    rows = rows_of()
    metric = make()
    metric.update_state(*(rows[name] for name in names))
    workers = [KerasMetric(make(), *names, name="value") for _ in sizes]
    start = 0
    for worker, size in zip(workers, sizes, strict=True):
        for first in range(start, start + size, 9):
            some = slice(first, min(first + 9, start + size))
            worker.update({name: column[some] for name, column in rows.items()})
        start += size
    workers[0].merge([worker.state() for worker in workers[1:]])
    assert workers[0].compute() == pytest.approx({"value": float(metric.result())}, rel=1e-5)


def test_the_metric_that_is_passed_is_not_touched() -> None:
    metric = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    metric.update_state([0, 1], np.eye(4)[:2])
    rows = rows_of()
    data = {name: rows[name] for name in ("output", "label")}
    metrics = mp.evaluate(None, data, [KerasMetric(metric)])
    right = (rows["output"].argmax(axis=1) == rows["label"]).mean()
    assert metrics == {"validation/accuracy": pytest.approx(right)}
    assert float(metric.result()) == 1.0


def test_an_empty_run_and_a_reset_give_nothing() -> None:
    inferencer = KerasMetric(keras.metrics.SparseCategoricalAccuracy())
    assert inferencer.compute() is None
    inferencer.update(rows_of())
    inferencer.reset()
    assert inferencer.compute() is None


def test_a_variable_that_does_not_add_up_cannot_be_merged() -> None:
    class Largest(keras.metrics.Metric):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.most = self.add_variable(
                (), "zeros", name="most", aggregation="only_first_replica"
            )

        def update_state(self, values: Any) -> None:
            self.most.assign(keras.ops.maximum(self.most, keras.ops.max(values)))

        def result(self) -> Any:
            return self.most

    one, other = (KerasMetric(Largest(name="largest"), "output") for _ in range(2))
    one.update(rows_of())
    other.update(rows_of())
    message = (
        "`metric` must have variables that add up over workers, got 'most' with aggregation "
        "'only_first_replica'"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        one.merge([other.state()])


def test_only_metrics_of_keras_are_wrapped() -> None:
    with pytest.raises(TypeError, match=r"^`metric` must be one of Keras, got str$"):
        KerasMetric("accuracy")
