import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from milepost import errors
from milepost.inferencers import Calibration


def evaluated(output: Any, labels: Any, **options: Any) -> Any:
    calibration = Calibration(**options)
    calibration.keep_evidence = True
    rows = {"id": np.arange(len(labels)), "output": np.asarray(output), "label": np.asarray(labels)}
    calibration.update(rows)
    return calibration


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(2, 6), st.integers(1, 12))
def test_values_are_those_of_their_definitions(
    seed: int, rows: int, classes: int, bins: int
) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = 3 * rng.normal(size=(rows, classes)), rng.integers(0, classes, rows)
    given_metrics = evaluated(logits, labels, bins=bins).compute()
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    where = [(sure >= at / bins) & (sure < (at + 1) / bins) for at in range(bins)]
    expected = {
        "ece": sum(
            each.mean() * abs(right[each].mean() - sure[each].mean())
            for each in where
            if each.any()
        ),
        "brier": ((probabilities - np.eye(classes)[labels]) ** 2).sum(axis=1).mean(),
        "nll": sklearn_metrics.log_loss(labels, probabilities, labels=range(classes)),
    }
    assert given_metrics == pytest.approx(expected, abs=1e-9)


def test_the_brier_score_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    p, labels = rng.dirichlet(np.ones(4), 50), rng.integers(0, 4, 50)
    expected = sklearn_metrics.brier_score_loss(labels, p, labels=range(4), scale_by_half=False)
    metrics = evaluated(p, labels, probabilities=True).compute()
    assert metrics["brier"] == pytest.approx(expected, abs=1e-12)


def test_a_confidence_of_1_is_in_the_last_bin() -> None:
    calibration = evaluated([[1.0, 0.0], [0.0, 1.0]], [0, 0], bins=4, probabilities=True)
    table = calibration.evidence()["reliability"]
    assert table["rows"].tolist() == [0, 0, 0, 2]
    np.testing.assert_array_equal(table["accuracy"], [np.nan] * 3 + [0.5])
    np.testing.assert_array_equal(table["confidence"], [np.nan] * 3 + [1.0])
    assert table["upper"].tolist() == [0.25, 0.5, 0.75, 1.0]
    assert calibration.compute() == {"ece": 0.5, "brier": 1.0, "nll": math.inf}


def test_evidence_has_the_scores_of_each_sample() -> None:
    calibration = evaluated([[0.75, 0.25], [0.5, 0.5]], [1, 0], probabilities=True)
    samples = calibration.evidence()["samples"]
    assert samples["confidence"].tolist() == [0.75, 0.5]
    assert samples["right"].tolist() == [0.0, 1.0]
    metrics: Any = calibration.compute()
    for name in ("brier", "nll"):
        assert samples[name].mean() == pytest.approx(metrics[name])


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            [[0.5, 0.5], [0.5, 0.25]],
            "`output` must hold probabilities, whose sum is 1 for each row (or set "
            "probabilities=False), got 0.75 at id 1",
        ),
        (
            [[0.5, 0.5], [1.5, -0.5]],
            "`output` must not hold a probability below 0, got -0.5 at id 1",
        ),
    ],
)
def test_probabilities_are_checked(output: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        evaluated(output, [0, 1], probabilities=True)


def test_rows_with_nan_are_named() -> None:
    message = "`output` must not hold NaN, got it at id 1"
    with pytest.raises(errors.NonFiniteError, match=f"^{re.escape(message)}$"):
        evaluated([[0.0, 1.0], [np.nan, 1.0]], [0, 1])


def test_a_class_may_be_masked_out() -> None:
    assert evaluated([[0.0, -np.inf]], [0]).compute() == {"ece": 0.0, "brier": 0.0, "nll": 0.0}


@pytest.mark.parametrize("row", [[np.inf, 0.0], [-np.inf, -np.inf]])
def test_the_largest_logit_is_finite(row: list[float]) -> None:
    message = f"`output` must have a finite number as the largest of each row, got {row[0]} at id 1"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        evaluated([[0.0, 1.0], row], [0, 1])


def test_bins_are_counted_from_1() -> None:
    with pytest.raises(ValueError, match=r"^`bins` must be at least 1, got 0$"):
        Calibration(bins=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20))
def test_a_resample_has_the_values_of_its_rows(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(count, 3)), rng.integers(0, 3, count)
    weights = rng.multinomial(count, np.full(count, 1 / count), 3)
    calibration = evaluated(logits, labels)
    drawn = calibration.resampled(calibration.evidence(), weights.astype(float), "query")
    for at, times in enumerate(weights):
        rows = np.repeat(np.arange(count), times)
        expected = evaluated(logits[rows], labels[rows]).compute()
        assert {name: values[at] for name, values in drawn.items()} == pytest.approx(expected)
