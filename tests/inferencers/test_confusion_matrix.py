import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from milepost import errors
from milepost.inferencers import ConfusionMatrix, Rows


def rows_of(output: Any, labels: Any) -> Rows:
    return {"id": np.arange(len(labels)), "output": np.asarray(output), "label": np.asarray(labels)}


def evaluated(output: Any, labels: Any, **options: Any) -> Any:
    matrix = ConfusionMatrix(**options)
    matrix.keep_evidence = True
    matrix.update(rows_of(output, labels))
    return matrix


def listed(table: Any) -> dict[str, list[Any]]:
    return {name: column.tolist() for name, column in table.items()}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=40))
def test_values_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    predicted, labels = map(np.asarray, zip(*pairs, strict=True))
    macro: Any = {"average": "macro", "zero_division": 0}
    recalls = [(predicted[labels == label] == label).mean() for label in np.unique(labels)]
    assert evaluated(predicted, labels).compute() == pytest.approx(
        {
            "accuracy": sklearn_metrics.accuracy_score(labels, predicted),
            "balanced_accuracy": np.mean(recalls),
            "macro_precision": sklearn_metrics.precision_score(labels, predicted, **macro),
            "macro_recall": sklearn_metrics.recall_score(labels, predicted, **macro),
            "macro_f1": sklearn_metrics.f1_score(labels, predicted, **macro),
        },
        abs=1e-12,
    )


def test_balanced_accuracy_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    predicted, labels = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    expected = sklearn_metrics.balanced_accuracy_score(labels, predicted)
    assert evaluated(predicted, labels).compute()["balanced_accuracy"] == pytest.approx(expected)


def test_of_equal_logits_the_first_class_is_predicted() -> None:
    logits = [[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]]
    assert evaluated(logits, [0, 1]).compute()["accuracy"] == 1.0
    predicted = evaluated(logits, [0, 2]).evidence()["samples"]["predicted"]
    assert predicted.tolist() == [0, 1]


def test_evidence_names_the_pairs_that_are_confused_most() -> None:
    matrix = evaluated(
        [0, 1, 1, 1, 2, 0, 0], [0, 0, 0, 0, 1, 1, 1], classes=["cat", "dog", "fox"], confused=2
    )
    tables = matrix.evidence()
    assert listed(tables["confused"]) == {
        "label": ["cat", "dog"],
        "predicted": ["dog", "cat"],
        "count": [3, 2],
        "share": [3 / 4, 2 / 3],
    }
    assert listed(tables["matrix"]) == {
        "label": ["cat", "cat", "dog", "dog"],
        "predicted": ["cat", "dog", "cat", "fox"],
        "count": [1, 3, 2, 1],
    }
    assert listed(tables["classes"]) == {
        "label": ["cat", "dog", "fox"],
        "rows": [4, 3, 0],
        "predicted_rows": [3, 3, 1],
        "precision": [1 / 3, 0.0, 0.0],
        "recall": [1 / 4, 0.0, 0.0],
        "f1": [2 / 7, 0.0, 0.0],
    }
    assert listed(tables["samples"])["label"] == ["cat"] * 4 + ["dog"] * 3
    assert tables["samples"]["accuracy"].mean() == matrix.compute()["accuracy"]


def test_names_are_there_for_all_classes() -> None:
    message = "`classes` must name all 3 classes, got 2 names"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        evaluated([0, 2], [0, 1], classes=["cat", "dog"]).evidence()


def test_a_class_that_only_another_worker_saw_is_merged() -> None:
    one, other = evaluated([0, 1], [0, 0]), evaluated([4], [4])
    one.merge([other.state()])
    assert one.compute() == evaluated([0, 1, 4], [0, 0, 4]).compute()


def test_a_prediction_that_is_no_class_is_named() -> None:
    message = "`output` must hold the index of a class, 0 up, got -1 at id 1"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        evaluated([0, -1], [0, 0])


def test_a_label_beyond_the_logits_is_named() -> None:
    message = "`label` must hold the index of a class, 0 to 1, got 2 at id 0"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        evaluated([[0.0, 1.0]], [2])


def test_logits_without_number_are_named() -> None:
    message = "`output` must not hold NaN, got it at id 0"
    with pytest.raises(errors.NonFiniteError, match=f"^{re.escape(message)}$"):
        evaluated([[np.nan, 1.0]], [0])


def test_confused_pairs_are_counted_from_0() -> None:
    with pytest.raises(ValueError, match=r"^`confused` must be 0 or more, got -1$"):
        ConfusionMatrix(confused=-1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20))
def test_a_resample_has_the_values_of_its_rows(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, labels = rng.integers(0, 4, (2, count))
    weights = rng.multinomial(count, np.full(count, 1 / count), 3)
    matrix = evaluated(predicted, labels)
    drawn = matrix.resampled(matrix.evidence(), weights.astype(float), "query")
    for at, times in enumerate(weights):
        rows = np.repeat(np.arange(count), times)
        expected = evaluated(predicted[rows], labels[rows]).compute()
        assert {name: values[at] for name, values in drawn.items()} == pytest.approx(expected)
