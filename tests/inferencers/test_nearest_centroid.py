import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid as TheirNearestCentroid

from milepost.inferencers import NearestCentroid
from tests.inferencers.rounds import clustered, run, split, table


def evaluate(*tables: Any, shared_ids: bool = False, workers: int = 1, **options: Any) -> Any:
    def make() -> NearestCentroid:
        made = NearestCentroid(**options)
        made.shared_ids = shared_ids
        return made

    parts = [split(rows, workers, 5) for rows in tables]
    shares = [sum(parts, start=list[Any]()) for parts in zip(*parts, strict=True)]
    return run([make() for _ in range(workers)], *shares, block=6)


def scores(distance: str, query: Any, centroid: Any) -> float:
    if distance == "l2":
        return -float(((query - centroid) ** 2).sum())
    lengths = np.linalg.norm(query) * np.linalg.norm(centroid) if distance == "cosine" else 1.0
    return float(query @ centroid / lengths)


def by_hand(queries: Any, gallery: Any, distance: str, k: int, copies: bool) -> tuple[float, int]:
    """The share of queries whose class is among the k nearest, and how many are left out."""
    right = []
    for name, query, label in zip(queries["id"], queries["output"], queries["label"], strict=True):
        found = {}
        for other in np.unique(gallery["label"]):
            rows = gallery["label"] == other
            if copies and other == label:
                rows = rows & (gallery["id"] != name)
            points = gallery["output"][rows].astype(float)
            if distance == "cosine":
                points = points / np.linalg.norm(points, axis=1, keepdims=True)
            if len(points):
                found[other] = scores(distance, query.astype(float), points.mean(axis=0))
        if label in found:
            rank = sum(score > found[label] for score in found.values())
            right.append(rank < k)
    return float(np.mean(right)) if right else math.nan, len(queries["id"]) - len(right)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["cosine", "dot", "l2"]),
    st.sampled_from(["alone", "gallery", "shared"]),
    st.integers(1, 3),
)
def test_values_are_those_of_a_count_by_hand(
    seed: int, distance: Any, kind: str, workers: int
) -> None:
    queries, gallery = clustered(seed, 12), clustered(seed + 1, 14, "gallery")
    tables = [queries] if kind == "alone" else [queries, gallery]
    options = {"shared_ids": kind == "shared", "workers": workers, "distance": distance}
    metrics = evaluate(*tables, k=(1, 2), **options)
    for k in (1, 2):
        accuracy, lone = by_hand(queries, tables[-1], distance, k, kind != "gallery")
        assert metrics[f"centroid_accuracy@{k}"] == pytest.approx(accuracy, nan_ok=True)
        assert metrics["queries_without_relevant"] == lone


def test_values_are_those_of_scikit_learn() -> None:
    queries, gallery = clustered(0, 200), clustered(1, 300, "gallery")
    theirs = TheirNearestCentroid().fit(gallery["output"], gallery["label"])
    accuracy = theirs.score(queries["output"], queries["label"])
    assert evaluate(queries, gallery, distance="l2")["centroid_accuracy@1"] == accuracy


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_centroids_are_of_any_size(scale: float) -> None:
    rows = clustered(0, 60)
    scaled = {**rows, "output": (rows["output"] * scale).astype(np.float32)}
    assert evaluate(scaled) == evaluate(rows)


def test_a_query_alone_in_its_class_is_counted_and_left_out() -> None:
    rows = table("query", np.array([[0.0], [1.0], [9.0]]), np.array(["a", "a", "b"]))
    assert evaluate(rows, distance="l2") == {
        "centroid_accuracy@1": 1.0,
        "queries_without_relevant": 1,
    }


def test_of_equally_near_centroids_the_smaller_label_ranks_first() -> None:
    queries = table("query", np.zeros((2, 1)), np.array([1, 2]))
    gallery = table("gallery", np.array([[1.0], [-1.0]]), np.array([1, 2]))
    inferencer = NearestCentroid(distance="l2")
    run([inferencer], [queries, gallery])
    evidence = inferencer.evidence()["queries"]
    assert evidence["rank"].tolist() == [1.0, 2.0]
    assert evidence["centroid_accuracy@1"].tolist() == [1.0, 0.0]
    assert evidence["label"].tolist() == [1, 2]


@pytest.mark.parametrize("k", [(), 0, (1, -1)])
def test_depths_are_at_least_1(k: Any) -> None:
    message = f"`k` must be whole numbers of at least 1, got {k!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        NearestCentroid(k=k)
