"""Values agree with those of sentence-transformers' evaluator of given pairs."""

from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer import evaluation as peers

from milepost.inferencers import Verification
from tests.inferencers.rounds import Array, evaluate


def of_peer(left: Array, right: Array, same: Array, name: str) -> Any:
    """Return the evaluator's metrics of pairs; texts are the numbers of rows."""
    rows = torch.from_numpy(np.concatenate([left, right]))

    class Evaluator(peers.BinaryClassificationEvaluator):
        def embed_inputs(self, model: Any, sentences: Any, **_: Any) -> Any:
            return rows[[int(sentence) for sentence in sentences]]

    first, second = np.arange(2 * len(left)).reshape(2, -1).astype(str).tolist()
    evaluator = Evaluator(first, second, same.tolist(), similarity_fn_names=[name])
    return evaluator.compute_metrics(None)[name]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("distance", "name"), [("cosine", "cosine"), ("dot", "dot"), ("l2", "euclidean")]
)
def test_values_are_those_of_sentence_transformers(distance: Any, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    same = rng.random(60) < (0.1, 0.5, 0.9)[seed % 3]
    left, right = rng.integers(-4, 5, (2, 60, 1)).astype(np.float32)  # exact, and many tie
    if seed > 2:
        left, right = rng.standard_normal((2, 60, 5)).astype(np.float32)
    right[same] += left[same]
    rows: Any = {"id": np.arange(60), "role": np.full(60, "query")}
    rows |= {"left": left, "right": right, "same": same}
    found = evaluate(lambda: Verification(distance=distance), rows)
    expected = of_peer(left, right, same.astype(int), name)
    assert found["best_accuracy"] == pytest.approx(expected["accuracy"], abs=1e-12)
    assert found["best_f1"] == pytest.approx(expected["f1"], abs=1e-12)
    assert found["average_precision"] == pytest.approx(expected["ap"], abs=1e-12)
    decides = found["best_f1_threshold"], expected["f1_threshold"]  # theirs lies between scores
    assert decides[0] <= decides[1] + 1e-6 if distance == "l2" else decides[0] >= decides[1] - 1e-6
