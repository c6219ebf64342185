"""The values that any right implementation of retrieval metrics reproduces."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milepost.inferencers import Retrieval
from tests.inferencers.rounds import run, split, table

CASES = json.loads((Path(__file__).parents[1] / "cases" / "metric_cases.json").read_text())
DISTANCES: dict[str, Any] = {"sqeuclidean": "l2", "cosine": "cosine", "dot": "dot"}
COMPARE: dict[str, Any] = {
    "equal": None,
    "abs_diff_lt_1": lambda q, g: abs(q - g) < 1,
    "col0_eq_col1_ne": lambda q, g: (q[..., 0] == g[..., 0]) & (q[..., 1] != g[..., 1]),
    "any_shared_tag": lambda q, g: ((q > 0) & (g > 0)).any(axis=-1),
}
NAMES = {
    "precision_at_1": "hit_rate@1",
    "r_precision": "r_precision",
    "mean_average_precision_at_r": "map@r",
    "mean_average_precision": "map@{depth}",
    "mean_reciprocal_rank": "mrr",
}
ONLY_UNLIMITED = ("r_precision", "mean_average_precision_at_r")


def splitmix64(seed: int) -> Iterator[int]:
    """The generator of pseudo-random numbers that the cases name (Steele et al., OOPSLA 2014)."""
    mask = (1 << 64) - 1
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield z ^ (z >> 31)


def integers(seed: int, shape: tuple[int, ...], low: int, high: int) -> Any:
    stream = splitmix64(seed)
    count = int(np.prod(shape))
    return np.array([low + next(stream) % (high - low) for _ in range(count)]).reshape(shape)


def generated(spec: dict[str, Any]) -> tuple[Any, Any]:
    """Return embeddings in clusters, and uniform labels."""
    of = spec["query_labels"]
    labels = integers(of["seed"], (of["n"],), 0, of["c"])
    unique, cluster = np.unique(labels, return_inverse=True)
    shape = len(unique), spec["d"]
    centres = integers(spec["seed"], shape, -spec["spread"], spec["spread"] + 1)
    shape = len(labels), spec["d"]
    noise = integers(spec["seed"] + 1, shape, -spec["noise"], spec["noise"] + 1)
    return centres[cluster] + noise, labels


def evaluate(case: dict[str, Any], average: str, workers: int) -> tuple[Any, int]:
    """Return the metrics of a case, and the depth that stands for all of its gallery."""
    if "generator" in case:
        query, labels = generated(case["generator"]["spec"])
    else:
        query, labels = np.array(case["query"]), np.array(case["query_labels"])
    tables = [table("query", query, labels)]
    shared = case.get("ref_includes_query", case.get("reference") is None)
    if case.get("reference") is not None:
        reference = np.array(case["reference"], dtype=np.float64)
        tables.append(table("gallery", reference, np.array(case["reference_labels"])))
    depth = case.get("k") or len(tables[-1]["id"])
    retrievals = []
    for _ in range(workers):
        retrieval = Retrieval(
            k=(1, depth),
            distance=DISTANCES[case.get("distance", "sqeuclidean")],
            relevant=COMPARE[case.get("compare", "equal")],
            average=average,  # type: ignore[arg-type]
        )
        retrieval.shared_ids = shared
        retrievals.append(retrieval)
    parts = [split(rows, workers, 3) for rows in tables]
    return run(retrievals, *(list(chain(*part)) for part in zip(*parts, strict=True))), depth


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("average", ["sample", "class"])
@pytest.mark.parametrize(
    "case",
    [*CASES["retrieval_cases"], *CASES["known_deviations"]],
    ids=lambda case: case["id"],
)
def test_a_case_has_its_value(case: dict[str, Any], average: str, workers: int) -> None:
    metrics, depth = evaluate(case, average, workers)
    which = "micro" if average == "sample" else "macro"
    expected = case.get("expected") or case["suggested"]
    for peer, name in NAMES.items():
        if case.get("k") and peer in ONLY_UNLIMITED and "suggested" not in case:
            continue
        tolerance = 2e-6 if peer == "mean_reciprocal_rank" else 1e-6
        value = metrics[name.format(depth=depth)]
        assert value == pytest.approx(
            float(expected[which][peer]), abs=tolerance, rel=0, nan_ok=True
        ), name
    if "n_valid_queries" in case:
        count = len(case["query"]) if "query" in case else case["n_valid_queries"]
        assert metrics["queries_without_relevant"] == count - case["n_valid_queries"]
