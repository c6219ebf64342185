import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from milepost import errors
from milepost.inferencers import ClassificationError, Rows


def rows_of(logits: Any, labels: Any, ids: Any = None) -> Rows:
    count = len(labels)
    return {
        "id": np.arange(count) if ids is None else np.asarray(ids),
        "output": np.asarray(logits),
        "label": np.asarray(labels),
    }


def wrong_rows(values: Any) -> Rows:
    return {"id": np.arange(len(values)), "wrong": np.asarray(values)}


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float32])
def test_a_short_last_batch_counts_by_its_samples(dtype: type) -> None:
    error = ClassificationError(wrong="wrong")
    for batch in ([0, 0, 0, 0], [0, 0, 0, 0], [1, 1]):
        error.update(wrong_rows(np.asarray(batch, dtype)))
    assert error.compute() == {"error": 0.2}


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint8])
def test_errors_are_those_of_a_stable_sort(dtype: type) -> None:
    rng = np.random.default_rng(0)
    logits: NDArray[Any] = rng.integers(0, 6, (500, 9)).astype(dtype)
    labels = rng.integers(0, 9, 500)
    error = ClassificationError(k=(1, 3, 9))
    error.update(rows_of(logits, labels))
    order = np.argsort(-logits.astype(float), axis=1, kind="stable").tolist()
    ranks = [row.index(label) for row, label in zip(order, labels.tolist(), strict=True)]
    expected = {f"error@{k}": sum(rank >= k for rank in ranks) / 500 for k in (1, 3, 9)}
    assert error.compute() == expected


def test_values_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(300, 10)), rng.integers(0, 10, 300)
    error = ClassificationError()
    error.update(rows_of(logits, labels))
    score = sklearn_metrics.top_k_accuracy_score
    assert error.compute() == pytest.approx(
        {f"error@{k}": 1 - score(labels, logits, k=k, labels=range(10)) for k in (1, 5)}
    )


def test_of_equal_logits_the_first_class_ranks_first() -> None:
    error = ClassificationError(k=(1, 2))
    error.update(rows_of([[1.0, 1.0, 1.0]] * 3, [0, 1, 2]))
    assert error.compute() == {"error@1": 2 / 3, "error@2": 1 / 3}


def test_more_than_there_are_classes_leaves_no_error() -> None:
    error = ClassificationError()
    error.update(rows_of([[0.0, 1.0, 2.0]] * 4, [0, 1, 2, 2]))
    assert error.compute() == {"error@1": 0.5, "error@5": 0.0}


def test_a_class_that_is_masked_out_ranks_last() -> None:
    error = ClassificationError(k=(1, 2))
    error.update(rows_of([[-np.inf, 0.0, -9.0]], [0]))
    assert error.compute() == {"error@1": 1.0, "error@2": 1.0}


@pytest.mark.parametrize("label", [3, -1, 1.5, np.nan])
def test_a_label_that_is_no_class_is_named(label: float) -> None:
    message = (
        f"`label` must hold the index of a class, 0 to 2, got {np.asarray([0, label])[1]} at id 'b'"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        ClassificationError().update(rows_of(np.zeros((3, 3)), [0, label, label], ["a", "b", "c"]))


def test_a_wrong_vector_holds_0_or_1() -> None:
    message = "`wrong` must hold 0 or 1, got 2 at id 2"
    with pytest.raises(ValueError, match=re.escape(message)):
        ClassificationError(wrong="wrong").update(wrong_rows([0, 1, 2]))


def test_rows_with_nan_are_named() -> None:
    logits = np.zeros((9, 2))
    logits[1:8, 1] = np.nan
    message = "`output` must not hold NaN, got it at id 1, 2, 3, 4, 5 and 2 more"
    with pytest.raises(errors.NonFiniteError, match=re.escape(message)):
        ClassificationError().update(rows_of(logits, [0] * 9))


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3, 2)])
def test_logits_have_two_axes(shape: tuple[int, ...]) -> None:
    message = (
        "`output` must hold a real number for each row and class, shape (N, C), C ≥ 2, "
        f"got float64 of shape {shape}; for one score a row there is BinaryClassificationStats"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        ClassificationError().update(rows_of(np.zeros(shape), [0] * 4))


@pytest.mark.parametrize("k", [(), (0, 1)])
def test_k_is_positive(k: tuple[int, ...]) -> None:
    message = f"`k` must hold whole numbers of 1 or more, got {k}"
    with pytest.raises(ValueError, match=re.escape(message)):
        ClassificationError(k=k)
