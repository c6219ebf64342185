import importlib.util
import re
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from milepost.errors import UnknownNameError
from milepost.inferencers import Clustering
from tests.inferencers.rounds import assert_same, clustered, run, split, table


def test_values_are_scikit_learns_scores_of_the_clusters() -> None:
    clustering = Clustering(distance="l2", clusters=7)
    metrics = run([clustering], [clustered(0, 120)])
    samples = clustering.evidence()["samples"]
    labels, clusters = samples["label"], samples["cluster"]
    assert metrics == {
        "nmi": sklearn_metrics.normalized_mutual_info_score(labels, clusters),
        "ami": sklearn_metrics.adjusted_mutual_info_score(labels, clusters),
        "ari": sklearn_metrics.adjusted_rand_score(labels, clusters),
    }
    assert set(clusters) == set(range(7))


def test_each_row_is_in_the_cluster_of_its_nearest_centroid() -> None:
    clustering = Clustering(distance="l2", clusters=4, iterations=100)
    rows = clustered(1, 60)
    run([clustering], [rows])
    samples = clustering.evidence()["samples"]
    points = rows["output"][np.argsort(rows["id"])].astype(float)
    clusters = samples["cluster"]
    centroids = np.stack([points[clusters == at].mean(axis=0) for at in range(4)])
    squares = ((points[:, None] - centroids) ** 2).sum(axis=2)
    np.testing.assert_array_equal(squares.argmin(axis=1), clusters)


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_that_learn_from_a_sample_agree(workers: int) -> None:
    rows = clustered(2, 1200)  # more than 256 for each of 2 clusters
    whole = run([Clustering(clusters=2)], [rows])
    shares = split(rows, workers, 100)
    parts = run([Clustering(clusters=2) for _ in range(workers)], *shares, block=64)
    assert_same(parts, whole)


def test_the_cosine_ignores_lengths() -> None:
    rows = clustered(3, 80)
    lengths = np.exp2(np.random.default_rng(0).integers(-8, 8, 80)).astype(np.float32)
    scaled = {**rows, "output": rows["output"] * lengths[:, None]}
    assert run([Clustering()], [scaled]) == run([Clustering()], [rows])


def test_the_seed_decides() -> None:
    rows = clustered(4, 100, spread=5.0)
    scores = {run([Clustering(seed=seed)], [rows])["nmi"] for seed in range(6)}
    assert len(scores) > 1


def test_only_chosen_metrics_are_computed() -> None:
    assert set(run([Clustering(metrics="ari")], [clustered(0, 20)])) == {"ari"}


def test_there_are_no_more_clusters_than_rows() -> None:
    message = "`clusters` must be at most the number of rows, 3, got 4"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        run([Clustering(clusters=4)], [table("query", np.eye(3), np.arange(3))])


@pytest.mark.parametrize("argument", ["clusters", "iterations", "restarts"])
def test_counts_are_at_least_1(argument: str) -> None:
    options: dict[str, Any] = {argument: 0}
    with pytest.raises(ValueError, match=f"^`{argument}` must be at least 1, got 0$"):
        Clustering(**options)


def test_unknown_names_list_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match=r"^unknown metric 'purity'; there are: 'ami', "):
        Clustering(metrics=["purity"])
    with pytest.raises(UnknownNameError, match=r"^unknown distance 'dot'; there are: 'cosine', "):
        Clustering(distance="dot")  # type: ignore[arg-type]


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = 'scikit-learn is not installed; pip install "milepost[clustering]" brings it'
    with pytest.raises(ImportError, match=f"^{re.escape(message)}$"):
        Clustering()
