import itertools
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from milepost.errors import NonFiniteError
from milepost.inferencers import MatchRate, _refined_histogram
from tests.inferencers.matches import FAR, oracle, pairs_of
from tests.inferencers.rounds import assert_same, clustered, evaluate, run, split, table


def assert_oracle(metrics: Any, expected: dict[str, float], auc: float = 1e-6) -> None:
    assert set(metrics) == set(expected)
    for name, value in expected.items():
        tolerance = {"auc": auc, "eer": 1e-15}.get(name, 0)
        assert metrics[name] == pytest.approx(value, abs=tolerance, rel=0, nan_ok=True), name


THRESHOLDS: dict[Any, Any] = {
    "cosine": (-0.25, 0.5, 0.9),
    "dot": (-1.0, 0.0, 2.5),
    "l2": (0.0, 1.0, 2.5),
}


@pytest.mark.parametrize("distance", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("roles", ["self", "gallery", "shared"])
@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_the_values_are_those_of_a_list_of_all_pairs(
    distance: Any, roles: str, spread: float
) -> None:
    queries, gallery = clustered(1, 60, spread=spread), clustered(2, 70, "gallery", spread)
    inferencer = MatchRate(thresholds=THRESHOLDS[distance], far=FAR, distance=distance)
    inferencer.shared_ids = roles == "shared"
    if roles == "self":
        metrics, gallery = run([inferencer], [queries]), queries
    else:
        metrics = run([inferencer], [queries, gallery])
    scores, genuine = pairs_of(queries, gallery, distance, own=roles == "shared")
    assert_oracle(metrics, oracle(scores, genuine, THRESHOLDS[distance], distance))


@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_the_values_are_exact_where_many_scores_tie(distance: Any) -> None:
    rng = np.random.default_rng(3)
    embeddings = rng.integers(-1, 2, (50, 2)).astype(np.float32)
    rows = table("query", embeddings, rng.integers(0, 3, 50))
    make = lambda: MatchRate(thresholds=(0.0, 1.0), far=FAR, distance=distance)  # noqa: E731
    expected = oracle(*pairs_of(rows, rows, distance, False), (0.0, 1.0), distance)
    assert_oracle(evaluate(make, rows), expected)


def test_scores_that_fill_one_bin_are_told_apart() -> None:
    rng = np.random.default_rng(4)
    embeddings = (np.ones((70, 8)) + 1e-3 * rng.standard_normal((70, 8))).astype(np.float32)
    rows = table("query", embeddings, rng.integers(0, 2, 70))
    scores, genuine = pairs_of(rows, rows, "cosine", False)
    assert np.ptp(scores) < 2**-10
    expected = oracle(scores, genuine, (0.999999,), "cosine")
    assert_oracle(
        evaluate(lambda: MatchRate(thresholds=(0.999999,), far=FAR), rows), expected, 1e-5
    )


def test_more_rounds_are_made_where_many_bins_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = clustered(5, 80)
    expected = evaluate(lambda: MatchRate(far=FAR), rows)
    monkeypatch.setattr(_refined_histogram, "_MOST_CELLS", 1)
    inferencer = MatchRate(far=FAR)
    found = run([inferencer], [rows])
    assert inferencer.rounds > 4
    assert_oracle(found, expected)


@pytest.mark.usefixtures("coarse_grid")
@pytest.mark.parametrize("gallery", [False, True])
def test_the_result_does_not_depend_on_how_rows_are_split(gallery: bool) -> None:
    tables = [clustered(6, 40)] + [clustered(7, 30, "gallery")] * gallery
    if not gallery:
        tables[0]["id"] = np.array([f"item {number}" for number in tables[0]["id"]])

    def make(max_memory_bytes: int | None = None) -> MatchRate:
        inferencer = MatchRate(thresholds=(0.5,), far=FAR)
        inferencer.shared_ids, inferencer.max_memory_bytes = True, max_memory_bytes
        return inferencer

    whole = evaluate(make, *tables)
    for workers, batch, block in itertools.product((1, 2, 3, 5), (1, 7), (4, 10**9)):
        parts = [split(rows, workers, batch, seed=workers) for rows in tables]
        shares = [list(itertools.chain(*part)) for part in zip(*parts, strict=True)]
        metrics = run([make(9_000) for _ in shares], *shares, block=block)
        assert_same(metrics, whole)


def test_values_agree_with_scikit_learn() -> None:
    rows = clustered(9, 150)
    metrics = evaluate(lambda: MatchRate(far=(0.01,)), rows)
    scores, genuine = pairs_of(rows, rows, "cosine", False)
    assert metrics["auc"] == pytest.approx(roc_auc_score(genuine, scores), abs=1e-6)
    far, tar, thresholds = roc_curve(genuine, scores, drop_intermediate=False)
    assert metrics["tar@far=0.01"] == tar[far <= 0.01].max()
    at = np.flatnonzero(far <= 0.01)[-1]
    assert metrics["threshold@far=0.01"] == thresholds[at]
    assert np.interp(metrics["eer"], far, tar) == pytest.approx(1 - metrics["eer"], abs=1e-12)
    precision, recall, thresholds = precision_recall_curve(genuine, scores)
    f1 = 2 * precision * recall / (precision + recall)
    assert metrics["best_f1"] == pytest.approx(np.nanmax(f1), abs=1e-15)
    assert metrics["best_f1_threshold"] == thresholds[np.nanargmax(f1)]


def test_a_threshold_that_was_given_back_decides_the_same() -> None:
    rows = clustered(10, 60)
    for distance in ("cosine", "dot", "l2"):
        first = evaluate(lambda: MatchRate(far=(0.05,), distance=distance), rows)  # noqa: B023
        threshold = first["threshold@far=0.05"]
        again = evaluate(
            lambda: MatchRate(thresholds=(threshold,), far=(), distance=distance),  # noqa: B023
            rows,
        )
        assert next(iter(again.values())) == first["tar@far=0.05"]


def test_pairs_of_an_element_with_itself_are_left_out_and_others_counted_once() -> None:
    rows = table("query", np.ones((5, 2)), np.array([0, 0, 0, 1, 1]), [9, 3, 7, 1, 5])
    for workers in (1, 2, 4):
        metrics = run([MatchRate() for _ in range(workers)], *split(rows, workers, 1))
        assert (metrics["genuine_pairs"], metrics["impostor_pairs"]) == (4, 6)
        assert metrics["auc"] == 0.5
        assert metrics["eer"] == 0.5
        assert metrics["tar@far=0.01"] == 0.0
        assert math.isnan(metrics["threshold@far=0.01"])


def test_what_needs_pairs_that_there_are_not_is_nan() -> None:
    one_class = evaluate(MatchRate, table("query", np.eye(3), np.zeros(3, int)))
    assert (one_class["genuine_pairs"], one_class["impostor_pairs"]) == (3, 0)
    assert one_class["best_f1"] == 1.0
    nan = {name for name, value in one_class.items() if math.isnan(value)}
    rates = {"tar@far=0.01", "threshold@far=0.01", "tar@far=0.001", "threshold@far=0.001"}
    assert nan == {*rates, "eer", "eer_threshold", "auc", "far_resolution"}
    lone = evaluate(MatchRate, table("query", np.eye(3), np.arange(3)))
    assert (lone["genuine_pairs"], lone["far_resolution"]) == (0, 1 / 3)
    assert math.isnan(lone["best_f1"])
    single = evaluate(MatchRate, table("query", np.eye(1), np.zeros(1, int)))
    assert (single["genuine_pairs"], single["impostor_pairs"]) == (0, 0)


def test_the_curve_is_evidence() -> None:
    inferencer = MatchRate(distance="l2")
    rows = clustered(11, 50)
    run([inferencer], [rows])
    roc = inferencer.evidence()["roc"]
    scores, genuine = pairs_of(rows, rows, "l2", False)
    for threshold, tar, far in zip(*roc.values(), strict=True):
        match = np.sqrt(-scores) <= threshold * (1 + 1e-12)
        assert (tar, far) == (match[genuine].mean(), match[~genuine].mean())
    assert MatchRate().evidence() == {}


def test_a_lone_threshold_needs_no_list() -> None:
    rows = clustered(0, 20)
    one, listed = (evaluate(partial(MatchRate, thresholds=t), rows) for t in (0.3, [0.3]))
    assert one["match_rate_genuine@0.3"] == listed["match_rate_genuine@0.3"]


def test_wrong_arguments_are_errors() -> None:
    with pytest.raises(ValueError, match=r"^`far` must be above 0 and at most 1, got \(0.0,\)$"):
        MatchRate(far=(0.0,))
    message = r"^`thresholds` must be finite, and for 'l2' not negative, got \(-1.0,\)$"
    with pytest.raises(ValueError, match=message):
        MatchRate(thresholds=(-1.0,), distance="l2")
    with pytest.raises(ValueError, match=r"^`group` must be one field, .* got \('a', 'b'\); "):
        MatchRate(group=("a", "b"))  # type: ignore[arg-type]
    with pytest.raises(NonFiniteError, match=r"^`output` is NaN or infinite in 1 of 1 rows"):
        MatchRate().update(table("query", np.full((1, 2), np.nan), [0]))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    values=st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=4, max_size=12),
    workers=st.integers(1, 3),
    distance=st.sampled_from(["cosine", "dot", "l2"]),
)
def test_any_rows_give_the_values_of_the_definitions(
    values: list[tuple[int, bool]], workers: int, distance: Any
) -> None:
    values += [(0, True), (1, True), (2, False)]  # both kinds of pairs
    embeddings, labels = np.array(values, np.float32).T
    rows = table("query", embeddings[:, None], labels > 0)
    inferencers = [MatchRate(thresholds=(1.0,), far=FAR, distance=distance) for _ in range(workers)]
    metrics = run(inferencers, *split(rows, workers, 2))
    assert_oracle(metrics, oracle(*pairs_of(rows, rows, distance, False), (1.0,), distance))
