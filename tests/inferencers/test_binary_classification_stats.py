import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from milepost import errors
from milepost.inferencers import BinaryClassificationStats, Rows


def rows_of(scores: Any, labels: Any) -> Rows:
    return {
        "id": np.arange(len(labels)),
        "output": np.asarray(scores),
        "label": np.asarray(labels),
    }


def stats_of(scores: Any, labels: Any, threshold: float = 0.5) -> dict[str, float]:
    stats = BinaryClassificationStats(threshold=threshold)
    stats.update(rows_of(scores, labels))
    return dict(stats.compute() or {})


@pytest.mark.parametrize("levels", [2, 7, 1000])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_are_those_of_scikit_learn(levels: int, dtype: type) -> None:
    rng = np.random.default_rng(levels)
    labels = rng.random(400) < 0.3
    scores: NDArray[Any] = (rng.integers(0, levels, 400) / levels + 0.2 * labels).astype(dtype)
    predicted = scores >= 0.5
    assert stats_of(scores, labels) == pytest.approx(
        {
            "precision": sklearn_metrics.precision_score(labels, predicted),
            "recall": sklearn_metrics.recall_score(labels, predicted),
            "f1": sklearn_metrics.f1_score(labels, predicted),
            "specificity": sklearn_metrics.recall_score(~labels, ~predicted),
            "average_precision": sklearn_metrics.average_precision_score(labels, scores),
            "roc_auc": sklearn_metrics.roc_auc_score(labels, scores),
        },
        rel=1e-12,
    )


def test_the_roc_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 5, 60), rng.random(60) < 0.5
    pairs = list(itertools.product(scores[labels].tolist(), scores[~labels].tolist()))
    right = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs)
    assert stats_of(scores, labels)["roc_auc"] == right / len(pairs)


def test_a_score_at_the_threshold_is_predicted_positive() -> None:
    scores = np.array([0.7, 0.7, 0.6], np.float32)
    assert stats_of(scores, [1, 0, 1], threshold=0.7)["precision"] == 0.5


def test_logits_are_told_apart_at_zero() -> None:
    metrics = stats_of([-np.inf, -1.0, 2.0, np.inf], [False, False, True, True], threshold=0.0)
    assert set(metrics.values()) == {1.0}


def test_without_positives_what_needs_them_is_nan() -> None:
    assert stats_of([0.1, 0.2, 0.6, 0.7], [0, 0, 0, 0]) == pytest.approx(
        {
            "precision": 0.0,
            "recall": math.nan,
            "f1": 0.0,
            "specificity": 0.5,
            "average_precision": math.nan,
            "roc_auc": math.nan,
        },
        nan_ok=True,
    )


def test_without_negatives_what_needs_them_is_nan() -> None:
    assert stats_of([0.1, 0.2], [1, 1]) == pytest.approx(
        {
            "precision": math.nan,
            "recall": 0.0,
            "f1": 0.0,
            "specificity": math.nan,
            "average_precision": 1.0,
            "roc_auc": math.nan,
        },
        nan_ok=True,
    )


def test_values_are_equal_to_the_bit_in_any_order() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.random(1000), rng.random(1000) < 0.5
    whole, order = stats_of(scores, labels), rng.permutation(1000)
    stats = BinaryClassificationStats()
    for part in np.array_split(order, 7):
        worker = BinaryClassificationStats()
        worker.update(rows_of(scores[part], labels[part]))
        stats.merge([worker.state()])
    assert stats.compute() == whole


@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_a_label_other_than_0_and_1_is_named(label: float) -> None:
    message = f"`label` must hold 0 or 1, got {label} at id 1"
    with pytest.raises(ValueError, match=re.escape(message)):
        stats_of([0.1, 0.2], [[1], [label]])


def test_a_nan_score_is_named() -> None:
    message = "`output` must not hold NaN, got it at id 1"
    with pytest.raises(errors.NonFiniteError, match=re.escape(message)):
        stats_of([0.1, math.nan], [1, 0])


def test_scores_of_two_classes_are_an_error() -> None:
    message = "`output` must hold one number a row, shape (3,) or (3, 1), got shape (3, 2)"
    with pytest.raises(ValueError, match=re.escape(message)):
        stats_of(np.zeros((3, 2)), [0, 1, 1])


def test_the_threshold_is_a_number() -> None:
    message = "`threshold` must be a number, got nan"
    with pytest.raises(ValueError, match=re.escape(message)):
        BinaryClassificationStats(threshold=math.nan)
