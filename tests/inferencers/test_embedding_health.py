import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.neighbors import NearestNeighbors

from milepost.inferencers import EmbeddingHealth
from milepost.inferencers._row_sample import RowSample, hashes


def evaluated(embeddings: Any, labels: Any = None, ids: Any = None, **options: Any) -> Any:
    health = EmbeddingHealth(labels=None if labels is None else "label", **options)
    ids = np.arange(len(embeddings)) if ids is None else np.asarray(ids)
    rows = {"id": ids, "output": np.asarray(embeddings)}
    health.update(rows if labels is None else {**rows, "label": np.asarray(labels)})
    return health.compute()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 40), st.integers(2, 6))
def test_values_are_those_of_their_definitions(seed: int, rows: int, dimension: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(rows, dimension)) + 0.5).astype(np.float32)
    labels = rng.integers(0, 3, rows)
    norms = np.linalg.norm(x.astype(float), axis=1)
    u = x / norms[:, None]
    shares = np.linalg.svd(x.astype(float), compute_uv=False)
    shares = shares / shares.sum()
    i, j = np.triu_indices(rows, 1)
    squares = ((u[i] - u[j]) ** 2).sum(axis=1)
    same = labels[i] == labels[j]
    expected = {
        "nan_share": 0.0,
        "norm_mean": norms.mean(),
        "norm_std": norms.std(),
        "norm_min": norms.min(),
        "norm_max": norms.max(),
        "effective_rank": math.exp(-(shares * np.log(shares)).sum()),
        "mean_cosine": (u[i] * u[j]).sum(axis=1).mean(),
        "feature_std": u.std(axis=0).mean() * math.sqrt(dimension),
        "alignment": squares[same].mean() if same.any() else math.nan,
        "uniformity": math.log(np.exp(-2 * squares).mean()),
    }
    metrics = evaluated(x, labels, k=2)
    assert {name: metrics[name] for name in expected} == pytest.approx(
        expected, abs=2e-6, nan_ok=True
    )
    near = NearestNeighbors(n_neighbors=3, metric="cosine").fit(x).kneighbors(x)[1]
    counts = np.bincount(
        [b for a, row in enumerate(near) for b in row if b != a][:], minlength=rows
    )
    if counts.sum() == 2 * rows and counts.std():
        assert metrics["hubness"] == pytest.approx(stats.skew(counts))


def test_rows_that_are_not_finite_are_counted_and_left_out() -> None:
    x = np.array([[1.0, 0.0], [np.nan, 1.0], [0.0, 3.0], [np.inf, 0.0]])
    metrics = evaluated(x, [0, 0, 0, 0], k=1)
    assert metrics["nan_share"] == 0.5
    rest = evaluated(x[[0, 2]], [0, 0], k=1)
    assert {**metrics, "nan_share": 0.0} == rest


def test_a_value_beyond_float32_is_not_finite() -> None:
    assert evaluated([[1e300], [1.0]])["nan_share"] == 0.5


def test_where_nothing_is_finite_the_rest_is_nan() -> None:
    metrics = evaluated([[np.nan]] * 3, [0, 1, 1])
    assert metrics.pop("nan_share") == 1.0
    assert all(math.isnan(value) for value in metrics.values())


def test_collapse_shows() -> None:
    metrics = evaluated(np.tile([3.0, 4.0], (6, 1)), [0, 0, 1, 1, 2, 2])
    assert metrics["norm_std"] == 0.0
    near = {"effective_rank": 1.0, "mean_cosine": 1.0, "feature_std": 0.0, "uniformity": 0.0}
    assert {name: metrics[name] for name in near} == pytest.approx(near, abs=1e-6)


def test_directions_that_are_spread_evenly_are_of_full_rank() -> None:
    axes = np.concatenate([np.eye(4), -np.eye(4)])
    metrics = evaluated(axes)
    assert metrics["effective_rank"] == pytest.approx(4.0)
    assert metrics["feature_std"] == pytest.approx(1.0)
    assert "alignment" not in metrics


def test_a_hub_shows_in_the_skew_and_in_the_evidence() -> None:
    health = EmbeddingHealth(labels=None, k=1)
    rows = np.array([[1.0, 1.0, 1.0], *np.eye(3)])
    health.update({"id": np.array(list("habc")), "output": rows})
    hubs = health.evidence()["hubs"]
    assert (hubs["hub"].tolist(), hubs["occurrences"].tolist()) == (["h", "a"], [3, 1])
    metrics: Any = health.compute()
    assert metrics["hubness"] == pytest.approx(stats.skew([3, 1, 0, 0]))


def test_rows_of_labels_are_alike_where_all_columns_are() -> None:
    x = np.random.default_rng(0).normal(size=(6, 3))
    columns = np.array([[0, 0], [0, 1], [0, 0], [1, 1], [0, 1], [1, 1]])
    assert evaluated(x, columns) == evaluated(x, columns @ [2, 1])


def test_the_sample_does_not_depend_on_the_width_of_ids_nor_on_the_split() -> None:
    ids = np.array([f"{at}" for at in range(200)])
    wide = ids.astype("<U20")
    np.testing.assert_array_equal(hashes(ids), hashes(wide))
    whole, parts = RowSample(20), RowSample(20)
    whole.add({"id": ids})
    for at in np.random.default_rng(0).permutation(200).reshape(-1, 8):
        parts.add({"id": wide[at]})
    assert whole.rows()["id"].tolist() == parts.rows()["id"].tolist()
    assert len(whole.rows()["id"]) == 20


def test_the_sample_is_spread_over_ids_in_sequence() -> None:
    sample = RowSample(1000)
    sample.add({"id": np.arange(10_000)})
    counts = np.histogram(sample.rows()["id"], 10)[0]
    assert abs(counts - 100).max() < 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 1}, "`sample` must be at least 2, got 1"),
        ({"k": 0}, "`k` must be at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_are_an_error(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        EmbeddingHealth(**options)


def test_embeddings_are_a_matrix() -> None:
    with pytest.raises(ValueError, match=re.escape("`output` must have shape (N, d), got (3,)")):
        evaluated(np.ones(3))
