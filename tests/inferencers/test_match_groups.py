"""Match rates by group and by query, and thresholds of another role, against lists of all pairs."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import det_curve

from milepost.inferencers import MatchRate
from milepost.neighbors import pair_scores
from tests.inferencers.matches import oracle, pairs_of
from tests.inferencers.rounds import Array, assert_same, clustered, evaluate, run, split

CAMERAS = np.array(["back", "front", "left"])


def with_cameras(seed: int, count: int, role: str = "query") -> Any:
    rows = clustered(seed, count, role)
    return {**rows, "camera": CAMERAS[np.random.default_rng(seed).integers(0, 3, count)]}


def in_turn(queries: Any, gallery: Any, distance: Any, own: bool) -> tuple[Array, Array, Array]:
    """Return the scores of each query with all others, which are genuine, and which count."""
    scores = pair_scores(queries["output"], gallery["output"], distance=distance)
    same = queries["label"][:, None] == gallery["label"][None, :]
    copy = queries["id"][:, None] == gallery["id"][None, :]
    counts = ~copy if own or queries is gallery else np.ones_like(copy)
    return scores, same, counts


def matches(scores: Array, threshold: float, distance: str) -> Array:
    if math.isnan(threshold):
        return np.zeros_like(scores, bool)
    if distance == "l2":
        return np.sqrt(-scores.astype(np.float64)) <= threshold
    return scores >= threshold


@pytest.mark.parametrize("distance", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("roles", ["self", "gallery", "shared"])
def test_groups_and_queries_have_the_rates_of_their_pairs(distance: Any, roles: str) -> None:
    queries, gallery = with_cameras(1, 50), with_cameras(2, 60, "gallery")
    tables = [queries] if roles == "self" else [queries, gallery]

    def make() -> MatchRate:
        return MatchRate(thresholds=(0.5,), far=(0.05,), group="camera", distance=distance)

    inferencer = make()
    inferencer.keep_evidence, inferencer.shared_ids = True, roles == "shared"
    metrics = run([inferencer], tables)
    evidence = inferencer.evidence()
    scores, same, counts = in_turn(queries, tables[-1], distance, roles == "shared")
    thresholds = {"match_rate_genuine@0.5": 0.5, "match_rate_impostor@0.5": 0.5}
    for rate, point in itertools.product(("tar", "far"), ("far=0.05", "eer", "best_f1")):
        name = f"threshold@{point}" if "=" in point else f"{point}_threshold"
        thresholds[f"{rate}@{point}"] = metrics[name]
    order = np.argsort(queries["id"])
    np.testing.assert_array_equal(evidence["queries"]["id"], queries["id"][order])
    np.testing.assert_array_equal(evidence["queries"]["group"], queries["camera"][order])
    for name, threshold in thresholds.items():
        kind = counts & (same if name.startswith(("tar", "match_rate_genuine")) else ~same)
        match = kind & matches(scores, threshold, distance)
        with np.errstate(invalid="ignore"):
            by_query = match.sum(axis=1) / kind.sum(axis=1)
        np.testing.assert_array_equal(evidence["queries"][name], by_query[order])
        by_group = [
            match[own].sum() / kind[own].sum() for own in (queries["camera"] == x for x in CAMERAS)
        ]
        np.testing.assert_array_equal(evidence["groups"][name], by_group)
        is_far = name.startswith("far") or "impostor" in name
        worst = int(np.argmax(by_group) if is_far else np.argmin(by_group))
        at = evidence["worst_groups"]["metric"].tolist().index(name)
        assert evidence["worst_groups"]["group"][at] == CAMERAS[worst]
        assert metrics[f"{name}/worst_group"] == by_group[worst]


def test_what_a_query_tells_of_the_area_adds_up_to_it() -> None:
    rows = with_cameras(3, 60)
    inferencer = MatchRate()
    inferencer.keep_evidence = inferencer.will_resample = True
    metrics = run([inferencer], [rows])
    queries = inferencer.evidence()["queries"]
    scores, same, counts = in_turn(rows, rows, "cosine", own=False)
    order, impostors = np.argsort(rows["id"]), scores[counts & ~same]
    for at, query in enumerate(order):
        genuine = scores[query][same[query] & counts[query]]
        if len(genuine):
            above = (genuine[:, None] > impostors).mean()
            assert queries["auc"][at] == pytest.approx(above, abs=0.01)
    for name, kind in (("auc", "genuine_pairs"), ("auc_of_impostors", "impostor_pairs")):
        mean = np.nansum(queries[name] * queries[kind]) / queries[kind].sum()
        assert mean == pytest.approx(metrics["auc"], abs=1e-3)


@pytest.mark.usefixtures("coarse_grid")
@pytest.mark.parametrize("gallery", [False, True])
def test_groups_do_not_depend_on_how_rows_are_split(gallery: bool) -> None:
    tables = [with_cameras(4, 40)] + [with_cameras(5, 30, "gallery")] * gallery

    def make() -> MatchRate:
        return MatchRate(far=(0.1,), group="camera")

    whole = evaluate(make, *tables)
    assert "tar@far=0.1/worst_group" in whole
    for workers in (2, 3):
        parts = [split(rows, workers, 7, seed=workers) for rows in tables]
        shares = [list(itertools.chain(*part)) for part in zip(*parts, strict=True)]
        inferencers = [make() for _ in shares]
        assert_same(run(inferencers, *shares, block=6), whole)
        first, *others = (inferencer.evidence()["groups"] for inferencer in inferencers)
        for other in others:
            assert_same(
                {k: v.tolist() for k, v in other.items()}, {k: v.tolist() for k, v in first.items()}
            )


@pytest.mark.usefixtures("coarse_grid")
@pytest.mark.parametrize("distance", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("gallery", [False, True])
def test_thresholds_are_chosen_on_the_pairs_of_another_role(distance: Any, gallery: bool) -> None:
    queries, other = clustered(6, 50), clustered(7, 60, "calibration")
    tables = [queries, other] + [clustered(8, 40, "gallery")] * gallery
    far = (1e-3, 0.05)

    def make() -> MatchRate:
        return MatchRate(thresholds=(0.5,), far=far, calibrate_on="calibration", distance=distance)

    metrics = evaluate(make, *tables)
    fitted = oracle(*pairs_of(other, other, distance, False), (), distance)
    at_far = evaluate(
        lambda: MatchRate(far=far, distance=distance), {**other, "role": np.full(60, "query")}
    )
    scores, same = pairs_of(queries, tables[-1] if gallery else queries, distance, False)
    thresholds = {
        **{f"far={x:g}": at_far[f"threshold@far={x:g}"] for x in far},
        **{point: fitted[f"{point}_threshold"] for point in ("eer", "best_f1")},
    }
    for point, threshold in thresholds.items():
        name = f"threshold@{point}" if "=" in point else f"{point}_threshold"
        assert metrics[name] == pytest.approx(threshold, abs=0, rel=0, nan_ok=True)
        match = matches(scores, threshold, distance)
        assert metrics[f"tar@{point}"] == match[same].mean()
        assert metrics[f"far@{point}"] == match[~same].mean()
    true = match[same].sum()
    assert metrics["f1@best_f1"] == pytest.approx(2 * true / (match.sum() + same.sum()), abs=1e-15)
    assert {"eer", "best_f1"}.isdisjoint(metrics)
    for workers in (2, 3):
        parts = [split(rows, workers, 9, seed=workers) for rows in tables]
        shares = [list(itertools.chain(*part)) for part in zip(*parts, strict=True)]
        assert_same(run([make() for _ in shares], *shares, block=8), metrics)


def test_operating_points_are_evidence() -> None:
    inferencer = MatchRate(thresholds=(0.5,), far=(0.1, 1e-6))
    rows = clustered(9, 50)
    metrics = run([inferencer], [rows])
    table = inferencer.evidence()["operating_points"]
    assert table["point"].tolist() == ["threshold=0.5", "far=0.1", "far=1e-06", "eer", "best_f1"]
    scores, same = pairs_of(rows, rows, "cosine", False)
    for at, threshold in enumerate(table["threshold"]):
        match = scores >= (threshold if threshold == threshold else math.inf)
        assert table["tar"][at] == match[same].mean()
        assert table["far"][at] == match[~same].mean()
        if match.any():
            assert table["precision"][at] == same[match].mean()
    assert table["f1"][-1] == pytest.approx(metrics["best_f1"], abs=1e-15)


@pytest.mark.parametrize("distance", ["cosine", "dot", "l2"])
def test_histograms_of_scores_are_evidence(distance: Any) -> None:
    inferencer = MatchRate(distance=distance)
    rows = clustered(10, 50)
    run([inferencer], [rows])
    table = inferencer.evidence()["scores"]
    scores, same = pairs_of(rows, rows, distance, False)
    place = np.sqrt(-scores) if distance == "l2" else scores
    for name, kind in (("genuine", same), ("impostors", ~same)):
        assert table[name].sum() == kind.sum()
        counts = np.searchsorted(np.sort(place[kind]), table["upper"], side="right")
        assert abs(table[name].cumsum() - counts).max() <= 2  # to within a cell
    np.testing.assert_array_equal(table["upper"][:-1], table["lower"][1:])


def test_a_role_to_calibrate_on_must_have_rows() -> None:
    message = r"^`calibrate_on` must be a role of its own, such as 'calibration', got 'gallery'$"
    with pytest.raises(ValueError, match=message):
        MatchRate(calibrate_on="gallery")
    with pytest.raises(ValueError, match=r"^`calibrate_on` must be a role that has rows, got 'x'$"):
        evaluate(lambda: MatchRate(calibrate_on="x"), clustered(11, 5))


def test_the_curve_is_that_of_scikit_learn() -> None:
    inferencer = MatchRate(thresholds=(), far=(0.2, 0.05, 0.01))
    rows = clustered(12, 60)
    run([inferencer], [rows])
    scores, same = pairs_of(rows, rows, "cosine", False)
    far, frr, thresholds = det_curve(same, scores)
    points = inferencer.evidence()["operating_points"]
    for threshold, own_tar, own_far in zip(
        points["threshold"], points["tar"], points["far"], strict=True
    ):
        at = thresholds.tolist().index(threshold)
        assert (own_far, 1 - own_tar) == pytest.approx((far[at], frr[at]), abs=1e-15)
    roc = inferencer.evidence()["roc"]
    at = np.searchsorted(thresholds, roc["threshold"]).clip(max=len(far) - 1)
    # The peer leaves out the ends of the curve.
    inside = (roc["match_rate_impostor"] > far.min()) & (roc["match_rate_genuine"] < 1)
    assert inside.sum() > 1000
    np.testing.assert_allclose(roc["match_rate_impostor"][inside], far[at][inside], atol=1e-15)
    np.testing.assert_allclose(1 - roc["match_rate_genuine"][inside], frr[at][inside], atol=1e-15)


@pytest.mark.parametrize("count", [1, 2])
def test_what_a_few_rows_cannot_tell_is_nan(count: int) -> None:
    rows = with_cameras(13, count)
    rows["label"] = np.arange(count)
    inferencer = MatchRate(group="camera")
    inferencer.keep_evidence = True
    metrics = run([inferencer], [rows])
    assert math.isnan(metrics["tar@far=0.01/worst_group"])
    assert np.isnan(inferencer.evidence()["queries"]["auc"]).all()
    drawn = inferencer.resampled(inferencer.evidence(), np.ones((3, count)), "query")
    assert np.isnan(drawn["tar@far=0.01"]).all()


def test_groups_of_another_type_on_another_worker_are_an_error() -> None:
    one, other = with_cameras(14, 6), with_cameras(15, 6)
    other["camera"] = np.arange(6)
    with pytest.raises(ValueError, match="values of one field must be of one type and shape"):
        run([MatchRate(group="camera"), MatchRate(group="camera")], [one], [other])
