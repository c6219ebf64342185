import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from sklearn.model_selection import KFold

from milepost.errors import NonFiniteError, UnknownNameError
from milepost.inferencers import Verification
from milepost.neighbors import pair_scores
from tests.inferencers.matches import FAR, oracle
from tests.inferencers.rounds import Array, assert_same, clustered, evaluate, run, split


def rows_of_pairs(seed: int, count: int, *, grid: bool = False, role: str = "query") -> Any:
    rng = np.random.default_rng(seed)
    left, right = rng.standard_normal((2, count, 4)).astype("f4")
    same = rng.random(count) < 0.4
    right[same] += 2 * left[same]
    if grid:
        left, right = np.rint(left), np.rint(right)
    camera = np.array(["a", "b", "c"])[rng.integers(0, 3, count)]
    return {
        "id": rng.permutation(3 * count)[:count],
        "role": np.full(count, role),
        "left": left,
        "right": right,
        "same": same.astype(int),
        "camera": camera,
    }


def in_order(rows: Any) -> Any:
    order = np.argsort(rows["id"])
    return {name: column[order] for name, column in rows.items()}


def scores_of(rows: Any, distance: Any = "cosine") -> Array:
    scores = pair_scores(rows["left"], rows["right"], distance=distance)
    return np.asarray(scores).diagonal().astype(np.float64)


def best_threshold(scores: Array, same: Array) -> tuple[float, float]:
    """Try every score, the highest first, and one above them all."""
    tried = [math.inf, *sorted(set(scores), reverse=True)]
    accuracies = [((scores >= threshold) == same).mean() for threshold in tried]
    return tried[int(np.argmax(accuracies))], max(accuracies)


@pytest.mark.parametrize("distance", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("grid", [False, True])
def test_the_values_are_those_of_a_list_of_scores(distance: Any, grid: bool) -> None:
    rows = rows_of_pairs(1, 70, grid=grid)
    thresholds = (0.0, 0.5)
    metrics = evaluate(
        lambda: Verification(thresholds=thresholds, far=FAR, distance=distance), rows
    )
    scores, same = scores_of(rows, distance), rows["same"] == 1
    expected = oracle(scores, same, thresholds, distance)
    threshold, accuracy = best_threshold(scores, same)
    expected["best_accuracy"] = accuracy
    place = math.nan if math.isinf(threshold) else threshold
    expected["best_accuracy_threshold"] = math.sqrt(-place) if distance == "l2" else place
    expected["average_precision"] = average_precision_score(same, scores)
    assert set(metrics) == set(expected)
    for name, value in expected.items():
        tolerance = 1e-12 if name in ("auc", "eer", "average_precision") else 0
        assert metrics[name] == pytest.approx(value, abs=tolerance, rel=0, nan_ok=True), name


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("folds", [2, 7, 10])
def test_folds_in_order_are_those_of_scikit_learn(folds: int, grid: bool) -> None:
    rows = rows_of_pairs(2, 53, grid=grid)
    verification = Verification(folds=folds)
    metrics = run([verification], [rows])
    ordered = in_order(rows)
    scores, same = scores_of(ordered), ordered["same"] == 1
    accuracies, thresholds = [], []
    for others, own in KFold(folds, shuffle=False).split(scores):
        threshold, _ = best_threshold(scores[others], same[others])
        accuracies.append(((scores[own] >= threshold) == same[own]).mean())
        thresholds.append(threshold)
    error = np.std(accuracies, ddof=1) / math.sqrt(folds)
    assert metrics["fold_accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-15)
    assert metrics["fold_accuracy_standard_error"] == pytest.approx(error, abs=1e-15)
    table = verification.evidence()["folds"]
    np.testing.assert_array_equal(table["accuracy"], accuracies)
    np.testing.assert_array_equal(table["threshold"], thresholds)
    assert table["pairs"].sum() == 53


def test_a_field_may_tell_the_folds() -> None:
    rows = rows_of_pairs(3, 60)
    metrics = evaluate(lambda: Verification(folds="camera"), rows)
    scores, same = scores_of(rows), rows["same"] == 1
    accuracies = []
    for camera in "abc":
        own = rows["camera"] == camera
        threshold, _ = best_threshold(scores[~own], same[~own])
        accuracies.append(((scores[own] >= threshold) == same[own]).mean())
    assert metrics["fold_accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-15)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    pairs=st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=12),
    workers=st.integers(1, 3),
)
def test_any_pairs_give_the_values_of_the_definitions(
    pairs: list[tuple[int, bool]], workers: int
) -> None:
    pairs += [(0, True), (1, False)]
    values, same = (np.array(column) for column in zip(*pairs, strict=True))
    left = values[:, None].astype("f4")
    right = np.ones_like(left)
    rows: Any = {"id": np.arange(len(same)), "role": np.full(len(same), "query")}
    rows |= {"left": left, "right": right, "same": same}
    made = [Verification(thresholds=(1.0,), far=FAR, distance="dot") for _ in range(workers)]
    metrics = run(made, *split(rows, workers, 2))
    expected = oracle(values.astype(float), same, (1.0,), "dot")
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, abs=1e-12, rel=0, nan_ok=True), name
    assert metrics["best_accuracy"] == best_threshold(values, same)[1]


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("strings", [False, True])
def test_listed_pairs_are_found_on_any_worker(strings: bool, told: bool) -> None:
    rows: Any = clustered(4, 40)
    if strings:
        rows["id"] = np.array([f"item {number}" for number in rows["id"]])
    rng = np.random.default_rng(5)
    left, right = rng.integers(0, 40, (2, 90))
    same = rows["label"][left] == rows["label"][right]
    pairs: Any = {"left": rows["id"][left], "right": rows["id"][right]}
    if told:
        pairs["label"] = same

    def make() -> Verification:
        return Verification("output", "label", pairs=pairs, folds=3)

    by_rows: Any = {"id": np.arange(90), "role": np.full(90, "query"), "same": same}
    by_rows |= {"left": rows["output"][left], "right": rows["output"][right]}
    expected = evaluate(lambda: Verification(folds=3), by_rows)
    if told:
        del rows["label"]
        assert make().fetches == ("output",)
    for workers in (1, 2, 3):
        found = run([make() for _ in range(workers)], *split(rows, workers, 7), block=8)
        assert_same(found, expected)


def test_the_right_of_a_listed_pair_is_of_the_gallery_where_there_is_one() -> None:
    queries, gallery = clustered(6, 20), clustered(7, 30, "gallery")
    rng = np.random.default_rng(8)
    left, right = rng.integers(0, 20, 50), rng.integers(0, 30, 50)
    pairs = list(zip(queries["id"][left], gallery["id"][right], strict=True))
    found = evaluate(lambda: Verification("output", "label", pairs=pairs), queries, gallery)
    scores = pair_scores(queries["output"], gallery["output"])[left, right].astype(np.float64)
    same = queries["label"][left] == gallery["label"][right]
    assert found["best_f1"] == oracle(scores, same, (), "cosine")["best_f1"]
    assert found["genuine_pairs"] == same.sum()


def test_thresholds_are_chosen_on_another_role() -> None:
    rows, other = rows_of_pairs(9, 50), rows_of_pairs(10, 60, role="calibration")
    metrics = evaluate(lambda: Verification(far=(0.1,), calibrate_on="calibration"), rows, other)
    fitted = evaluate(lambda: Verification(far=(0.1,)), {**other, "role": np.full(60, "query")})
    scores, same = scores_of(rows), rows["same"] == 1
    for point in ("far=0.1", "eer", "best_f1", "best_accuracy"):
        name = f"threshold@{point}" if point == "far=0.1" else f"{point}_threshold"
        assert metrics[name] == fitted[name]
        match = scores >= fitted[name]
        assert metrics[f"tar@{point}"] == match[same].mean()
        assert metrics[f"far@{point}"] == match[~same].mean()
    assert metrics["accuracy@best_accuracy"] == pytest.approx((match == same).mean(), abs=1e-15)
    assert {"eer", "best_f1", "best_accuracy"}.isdisjoint(metrics)


def test_the_role_of_a_listed_pair_is_told_by_the_list() -> None:
    rows = clustered(11, 40)
    left, right = np.random.default_rng(12).integers(0, 40, (2, 80))
    pairs: Any = {"left": rows["id"][left], "right": rows["id"][right]}
    fits = np.arange(80) % 2 == 1
    pairs["role"] = np.where(fits, "fit", "query")
    make = lambda: Verification("output", "label", pairs=pairs, calibrate_on="fit")  # noqa: E731
    metrics = evaluate(make, rows)
    own = {name: column[fits] for name, column in pairs.items() if name != "role"}
    fitted = evaluate(lambda: Verification("output", "label", pairs=own), rows)
    assert metrics["best_f1_threshold"] == fitted["best_f1_threshold"]
    assert (
        metrics["genuine_pairs"] + fitted["genuine_pairs"]
        == (rows["label"][left] == rows["label"][right]).sum()
    )


def test_each_group_has_its_rates_and_the_worst_is_named() -> None:
    rows = rows_of_pairs(13, 90)
    verification = Verification(far=(0.1,), group="camera")
    metrics = run([verification], [rows])
    scores, same = scores_of(rows), rows["same"] == 1
    match = scores >= metrics["threshold@far=0.1"]
    tables = verification.evidence()
    tar = [match[same & (rows["camera"] == camera)].mean() for camera in "abc"]
    assert tables["groups"]["group"].tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(tables["groups"]["tar@far=0.1"], tar)
    worst = tables["worst_groups"]
    at = worst["metric"].tolist().index("tar@far=0.1")
    assert worst["group"][at] == "abc"[int(np.argmin(tar))]
    assert metrics["tar@far=0.1/worst_group"] == worst["value"][at] == min(tar)


def test_each_worker_tells_of_its_own_pairs() -> None:
    rows = rows_of_pairs(14, 40)
    workers = [Verification(folds=2, group="camera") for _ in range(3)]
    run(workers, *split(rows, 3, 5))
    tables = [worker.evidence()["queries"] for worker in workers]
    joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    order, ordered = np.argsort(joined["id"]), in_order(rows)
    np.testing.assert_array_equal(joined["id"][order], ordered["id"])
    np.testing.assert_array_equal(joined["score"][order], scores_of(ordered))
    np.testing.assert_array_equal(joined["group"][order], ordered["camera"])
    metrics = workers[0].compute()
    assert joined["fold_accuracy"].mean() == pytest.approx(metrics["fold_accuracy"], abs=1e-15)


def test_pairs_drawn_once_each_give_the_metrics() -> None:
    rows = rows_of_pairs(15, 50)
    verification = Verification(folds=5, thresholds=(0.3,))
    metrics = run([verification], [rows])
    tables = verification.evidence()
    found = verification.resampled(tables, np.ones((2, 50)), "query")
    assert set(found) == {
        name for name in metrics if not name.endswith(("pairs", "resolution", "error"))
    } - {name for name in metrics if "threshold" in name}
    for name, values in found.items():
        assert values.tolist() == pytest.approx([metrics[name]] * 2, abs=1e-12)


def test_pairs_drawn_twice_count_twice() -> None:
    rows = in_order(rows_of_pairs(16, 30))
    verification = Verification()
    run([verification], [rows])
    drawn = np.random.default_rng(17).integers(0, 3, 30)
    found = verification.resampled(verification.evidence(), drawn[None].astype(float), "query")
    repeated = {name: np.repeat(column, drawn, axis=0) for name, column in rows.items()}
    repeated["id"] = np.arange(drawn.sum())
    expected = evaluate(Verification, repeated)
    for name, (value,) in found.items():
        assert value == pytest.approx(expected[name], abs=1e-12), name


def test_wrong_arguments_are_errors() -> None:
    with pytest.raises(ValueError, match=r"^`embeddings` must name two arrays, or one where"):
        Verification("output")
    with pytest.raises(ValueError, match=r"^`folds` must be at least 2, or a field, got 1$"):
        Verification(folds=1)
    message = r"^`calibrate_on` must be a role of its own, such as 'calibration', got 'query'$"
    with pytest.raises(ValueError, match=message):
        Verification(calibrate_on="query")
    with pytest.raises(ValueError, match=r"^`pairs` must have columns of one value a pair"):
        Verification("output", pairs={"left": [1, 2], "right": [1]})
    with pytest.raises(ValueError, match=r"^`pairs` must hold at least one, got none$"):
        Verification("output", pairs=[])
    with pytest.raises(ValueError, match=r"^`group` must be one field, .* got \('a', 'b'\); "):
        Verification(group=("a", "b"))  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=r"^unknown column of `pairs` 'right'"):
        Verification("output", pairs={"left": [1, 2]})
    pairs = {"left": [1], "right": [2], "role": ["fit"]}
    with pytest.raises(UnknownNameError, match=r"^unknown role of `pairs` 'fit'"):
        Verification("output", pairs=pairs)
    with pytest.raises(ValueError, match=r"^`same` must hold 0 or 1, got 3 at id 0$"):
        Verification("output", pairs=[(1, 2, 3)])


def test_wrong_rows_are_errors() -> None:
    rows = rows_of_pairs(18, 4)
    with pytest.raises(ValueError, match=r"^`left` and `right` must have one shape, got"):
        Verification().update({**rows, "right": rows["right"][:, :2]})
    with pytest.raises(NonFiniteError, match=r"^`left` is NaN or infinite in 4 of 4 rows"):
        Verification().update({**rows, "left": np.full((4, 4), np.nan)})
    with pytest.raises(ValueError, match=r"^`folds` must be at most the number of pairs, 4, got 5"):
        evaluate(lambda: Verification(folds=5), rows)
    with pytest.raises(ValueError, match=r"^`calibrate_on` must be a role that has pairs, got 'x'"):
        evaluate(lambda: Verification(calibrate_on="x"), rows)
    with pytest.raises(ValueError, match=r"^`folds` must tell at least two folds apart, got one"):
        evaluate(lambda: Verification(folds="role"), rows)


def test_listed_ids_that_the_data_lacks_are_errors() -> None:
    rows = clustered(19, 10)
    known = int(rows["id"][0])
    pairs = [(known, known, 1), (known, 99, 0)]
    message = r"got 1 of 2 pairs with others; the first: \(\d+, 99\)$"
    with pytest.raises(ValueError, match=message):
        evaluate(lambda: Verification("output", pairs=pairs), rows)
    with pytest.raises(ValueError, match=r"^`pairs` must hold ids as the data has them, int64"):
        evaluate(lambda: Verification("output", pairs=[("a", "b", 1)]), rows)
