"""Confusion and calibration beside torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MulticlassPrecision,
)

from milepost.inferencers import Calibration, ConfusionMatrix, Inferencer


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(2, 6))
def test_values_are_those_of_torchmetrics(seed: int, rows: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(rows, classes)), rng.integers(0, classes, rows)
    theirs = {
        "macro_precision": MulticlassPrecision(classes),
        "macro_f1": MulticlassF1Score(classes),
        "accuracy": MulticlassAccuracy(classes, average="micro"),
        "ece": MulticlassCalibrationError(classes, n_bins=15),
    }
    ours: dict[str, float] = {}
    inferencers: list[Inferencer] = [ConfusionMatrix(), Calibration()]
    for inferencer in inferencers:
        inferencer.update({"id": np.arange(rows), "output": logits, "label": labels})
        ours.update(inferencer.compute() or {})
    for name, metric in theirs.items():
        probabilities = torch.from_numpy(logits).softmax(dim=1)  # it may take logits for such
        metric.update(probabilities, torch.from_numpy(labels))
        assert ours[name] == pytest.approx(metric.compute().item(), abs=1e-6), name
