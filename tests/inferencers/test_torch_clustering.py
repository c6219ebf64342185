"""Clusters beside those of pytorch-metric-learning."""

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from milepost.inferencers import Clustering
from tests.inferencers.rounds import clustered, run, take


@pytest.mark.parametrize("seed", range(3))
def test_values_are_those_of_pytorch_metric_learning(seed: int) -> None:
    rows = clustered(seed, 300, spread=1.5)
    rows = take(rows, np.argsort(rows["id"]))
    theirs = AccuracyCalculator(include=("NMI", "AMI")).get_accuracy(
        torch.from_numpy(rows["output"]), torch.from_numpy(rows["label"])
    )
    ours = run([Clustering(distance="l2")], [rows])
    assert ours["nmi"] == pytest.approx(theirs["NMI"], abs=1e-6)
    assert ours["ami"] == pytest.approx(theirs["AMI"], abs=1e-6)


def test_tensors_give_the_values_of_arrays() -> None:
    rows = clustered(1, 90)
    tensors = {**rows, "output": torch.from_numpy(rows["output"])}
    assert run([Clustering()], [tensors]) == run([Clustering()], [rows])
