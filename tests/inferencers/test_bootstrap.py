"""Confidence intervals hold the true value as often as they say, and cost what they say."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sklearn_metrics

from milepost.inferencers import (
    BinaryClassificationStats,
    Bootstrap,
    Calibration,
    ClassificationError,
    ConfusionMatrix,
    Inferencer,
    Interval,
    Retrieval,
    ScalarStats,
    unit_table,
)
from milepost.inferencers._evidence import weighted_class_means, weighted_means
from milepost.inferencers._interval import _student, find_interval
from tests.inferencers.rounds import clustered, run

Floats = NDArray[np.float64]
Table = Mapping[str, NDArray[Any]]


def intervals(table: Table, bootstrap: Bootstrap) -> dict[str, Interval]:
    return bootstrap.intervals(partial(weighted_means, table), table)


def interval(values: Any, **options: Any) -> Interval:
    return intervals({"x": np.asarray(values, float)}, Bootstrap(**options))["x"]


def uniform(rng: np.random.Generator) -> Table:
    return {"x": rng.random(50)}


def hits(rng: np.random.Generator) -> Table:
    return {"x": rng.random(400) < 0.9}


def most_hits(rng: np.random.Generator) -> Table:
    return {"x": rng.random(100) < 0.95}


def nearly_all_hits(rng: np.random.Generator) -> Table:
    return {"x": rng.random(100) < 0.98}


def squashed(rng: np.random.Generator) -> Table:
    return {"x": rng.beta(0.5, 0.5, 25)}


def skewed(rng: np.random.Generator) -> Table:
    return {"x": rng.beta(5, 1, 150)}


def few(rng: np.random.Generator) -> Table:
    return {"x": rng.normal(0.5, 1, 8)}


def of_classes(rng: np.random.Generator, sizes: NDArray[np.int64], mean: float) -> Table:
    """Hits of queries whose chance is that of their class: they depend on one another."""
    chances = rng.beta(4 * mean, 4 - 4 * mean, len(sizes))
    label = np.repeat(np.arange(len(sizes)), sizes)
    return {"label": label, "x": rng.random(len(label)) < chances[label]}


def few_classes(rng: np.random.Generator) -> Table:
    return of_classes(rng, np.full(8, 20), 0.6)


def many_classes(rng: np.random.Generator) -> Table:
    return of_classes(rng, np.full(100, 10), 0.8)


def uneven_classes(rng: np.random.Generator) -> Table:
    return of_classes(rng, rng.geometric(0.1, 20), 0.6)


def many_uneven_classes(rng: np.random.Generator) -> Table:
    return of_classes(rng, rng.geometric(0.2, 150), 0.7)


SCENES: dict[str, tuple[Callable[[np.random.Generator], Table], float, Any]] = {
    "uniform": (uniform, 0.5, "query"),
    "hits": (hits, 0.9, "query"),
    "most hits": (most_hits, 0.95, "query"),
    "nearly all hits": (nearly_all_hits, 0.98, "query"),
    "squashed": (squashed, 0.5, "query"),
    "skewed": (skewed, 5 / 6, "query"),
    "few": (few, 0.5, "query"),
    "few classes": (few_classes, 0.6, "class"),
    "many classes": (many_classes, 0.8, "class"),
    "uneven classes": (uneven_classes, 0.6, "class"),
    "many uneven classes": (many_uneven_classes, 0.7, "class"),
}


def coverage(scene: str, runs: int, **options: Any) -> float:
    """The share of intervals that hold the true mean."""
    draw, truth, own_over = SCENES[scene]
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(runs):
        bootstrap = Bootstrap(**{"over": own_over, "seed": seed, **options})
        low, high = intervals(draw(rng), bootstrap)["x"]
        held += low <= truth <= high
    return held / runs


@pytest.mark.parametrize("scene", ["uniform", "few classes", "uneven classes"])
def test_intervals_hold_the_true_value(scene: str) -> None:
    held = coverage(scene, 300, resamples=400)
    assert 0.91 < held < 0.99  # three standard deviations of a share of 300


@pytest.mark.slow
@pytest.mark.parametrize("scene", list(SCENES))
def test_95_percent_of_intervals_hold_the_true_value_within_2(scene: str) -> None:
    most = {"most hits": 0.98, "nearly all hits": 0.99}.get(scene, 0.97)  # they move in steps
    assert 0.93 <= coverage(scene, 3000) <= most


def test_dependent_queries_taken_for_independent_ones_hold_it_too_seldom() -> None:
    assert coverage("few classes", 100, over="query", resamples=400) < 0.8


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_another_level_is_held_too(level: float) -> None:
    rng = np.random.default_rng(1)
    held = [
        low <= 0.5 <= high
        for low, high in (interval(rng.random(40), level=level, resamples=400) for _ in range(200))
    ]
    assert np.mean(held) == pytest.approx(level, abs=3 * math.sqrt(level * (1 - level) / 200))


def test_the_ends_are_those_of_student_for_a_mean_of_many_values() -> None:
    values = np.random.default_rng(0).normal(size=4000)
    expected = stats.t.interval(0.95, 3999, values.mean(), stats.sem(values))
    found = interval(values, resamples=4000)
    assert found == pytest.approx(expected, abs=0.2 * stats.sem(values))


@pytest.mark.parametrize("freedom", [1, 1.5, 4, 30, 3000, 20_000])
def test_the_quantiles_of_student_are_those_of_scipy(freedom: float) -> None:
    for share in (0.6, 0.95, 0.975):
        assert _student(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-4)


def test_the_interval_is_that_of_scipys_bca_but_for_the_widening() -> None:
    rng = np.random.default_rng(0)
    values = rng.exponential(size=60)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, rng=rng)
    weights = rng.multinomial(60, np.full(60, 1 / 60), 20_000)
    left_out = (values.sum() - values) / 59
    found = find_interval(values.mean(), weights @ values / 60, left_out, 1e9, 0.95)
    low, high = expected.confidence_interval
    assert found == pytest.approx((low, high), abs=0.02 * (high - low))


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    values = np.random.default_rng(0).random(100)
    assert interval(values) == interval(values)
    assert interval(values) != interval(values, seed=1)


def test_a_share_of_which_nothing_is_left_has_an_interval_with_a_width() -> None:
    assert interval([1.0] * 100) == pytest.approx((0.956, 1.0), abs=1e-3)
    labels = {"label": np.repeat(np.arange(10), 10), "x": np.ones(100)}
    whole = intervals(labels, Bootstrap(over="class"))["x"]
    assert whole == pytest.approx((0.679, 1.0), abs=1e-3)


def test_the_interval_of_a_share_is_that_of_agresti_and_coull() -> None:
    values = np.arange(400) < 300
    counts, middle = 400 + 1.96**2, (300 + 1.96**2 / 2) / (400 + 1.96**2)
    side = 1.96 * math.sqrt(middle * (1 - middle) / counts)
    found = interval(values, resamples=4000)
    assert found == pytest.approx((middle - side, middle + side), abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("chances", [(0.02, 0.01), (0.05, 0.05), (0.15, 0.1)])
def test_of_differences_of_shares_95_percent_hold_the_true_one(
    chances: tuple[float, float],
) -> None:
    rng, held = np.random.default_rng(0), []
    for seed in range(2000):
        table = {"x": rng.choice([1.0, -1.0, 0.0], size=100, p=[*chances, 1 - sum(chances)])}
        found = Bootstrap(resamples=400, seed=seed).draw(partial(weighted_means, table), table)
        assert found is not None
        low, high = found.share_difference_interval("x", 100, 0.95)
        held.append(low <= chances[0] - chances[1] <= high)
    assert 0.93 <= np.mean(held) <= 0.99


@pytest.mark.parametrize("size", [12, 200])
def test_p_is_that_of_the_t_test_for_a_mean(size: int) -> None:
    values = np.random.default_rng(3).normal(0.3, 1.0, size)
    table = {"x": values}
    found = Bootstrap(resamples=5000).draw(partial(weighted_means, table), table)
    assert found is not None
    assert found.p("x") == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=0.15, abs=2e-3)
    low, high = found.interval("x", 1 - found.p("x"))
    if size == 12:  # else no resample reaches 0
        assert min(abs(low), abs(high)) < 0.02


def test_equal_values_have_an_interval_without_width() -> None:
    assert interval([0.25] * 20) == (0.25, 0.25)


def test_a_value_that_does_not_count_moves_nothing() -> None:
    values = np.random.default_rng(0).random(50)
    low, high = interval(np.concatenate([values, [np.nan] * 5]))
    assert (low, high) == pytest.approx(interval(values), abs=0.02)


@pytest.mark.parametrize("values", [[np.nan] * 5, [np.inf, 1.0, 2.0]])
def test_what_has_no_finite_value_has_no_interval(values: Any) -> None:
    assert np.isnan(interval(values)).all()


def test_no_rows_have_no_intervals() -> None:
    assert intervals({"x": np.zeros(0)}, Bootstrap()) == {}
    assert intervals({}, Bootstrap(over="class")) == {}


def test_rows_of_one_class_are_drawn_together_also_of_labels_in_several_columns() -> None:
    def weights_of(table: Table) -> Floats:
        taken: list[Floats] = []

        def resampled(weights: Floats) -> Mapping[str, Floats]:
            taken.append(weights)
            return {"x": weights.sum(axis=1)}

        Bootstrap(over="class", resamples=200).intervals(resampled, table)
        return np.concatenate(taken)

    labels = np.array([[0, 1], [0, 2], [0, 1], [1, 1], [0, 2], [0, 1]])
    weights = weights_of({"id": np.arange(6), "label": labels})
    assert (weights[:, [0, 0, 1]] == weights[:, [2, 5, 4]]).all()
    assert len(weights) == 1 + 200 + 3  # once each, the resamples, and without each class
    assert set(weights[1:201, [0, 1, 3]].sum(axis=1)) == {3}


def test_many_rows_have_fewer_resamples_and_parts_are_left_out() -> None:
    counts: list[int] = []

    def resampled(weights: Floats) -> Mapping[str, Floats]:
        counts.append(len(weights))
        assert weights.nbytes <= 2**27
        return {"x": weights[:, 0]}

    Bootstrap().intervals(resampled, {"x": np.zeros(50_000)})
    assert sum(counts) == 1 + 400 + 200
    counts.clear()
    Bootstrap().intervals(resampled, {"x": np.zeros(200_000)})
    assert sum(counts) == 1 + 200 + 200


def test_means_over_classes_count_a_class_as_often_as_it_was_drawn() -> None:
    table = {"label": np.array(["a", "b", "b", "c"]), "x": np.array([1.0, 0.0, 0.5, np.nan])}
    weights = np.array([[1.0, 1, 1, 1], [3, 1, 1, 0], [0, 2, 0, 1]])
    assert weighted_class_means(table, weights, "query")["x"].tolist() == [0.625, 0.625, 0.0]
    assert weighted_class_means(table, weights, "class")["x"].tolist() == [0.625, 0.8125, 0.0]


def evidence(inferencer: Inferencer, rows: Any) -> dict[str, Any]:
    inferencer.keep_evidence = True
    inferencer.reset()
    inferencer.update(rows)
    return dict(inferencer.evidence())


def samples(count: int = 60) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    score = rng.integers(0, 20, count) / 20
    label = rng.random(count) < score
    ids = {"id": np.arange(count), "role": np.full(count, "query")}
    return {**ids, "output": score.astype(np.float32), "label": label}


def test_a_resample_of_binary_scores_is_that_of_repeated_samples() -> None:
    rows = samples()
    inferencer = BinaryClassificationStats(threshold=0.35)
    tables = evidence(inferencer, rows)
    weights = np.random.default_rng(1).integers(0, 4, (3, 60)).astype(float)
    found = inferencer.resampled(tables, weights, "query")
    for number, row in enumerate(weights.astype(int)):
        again = {name: np.repeat(column, row) for name, column in rows.items()}
        repeated = BinaryClassificationStats(threshold=0.35)
        repeated.update(again)
        expected = repeated.compute()
        assert expected is not None
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name][number] == pytest.approx(value, rel=1e-12)
        auc = sklearn_metrics.roc_auc_score(again["label"], again["output"])
        assert found["roc_auc"][number] == pytest.approx(auc, rel=1e-12)


def logits(count: int = 60) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    ids = {"id": np.arange(count), "role": np.full(count, "query")}
    return {**ids, "output": rng.normal(size=(count, 7)), "label": rng.integers(0, 7, count)}


@pytest.mark.parametrize("over", ["query", "class"])
def test_every_metric_of_single_samples_has_an_interval(over: Any) -> None:
    cases: list[tuple[Inferencer, Any]] = [
        (ClassificationError(), logits()),
        (BinaryClassificationStats(), samples()),
        (ScalarStats("output", "label"), samples()),
    ]
    for inferencer, rows in cases:
        tables = evidence(inferencer, rows)
        metrics = inferencer.compute() or {}
        if over == "class" and isinstance(inferencer, BinaryClassificationStats):
            continue  # it has two
        resampled = partial(inferencer.resampled, tables, over=over)
        found = Bootstrap(over=over).intervals(resampled, unit_table(tables))
        assert found.keys() == metrics.keys()
        for name in found:
            assert found[name].low < metrics[name] < found[name].high


@pytest.mark.parametrize("average", ["sample", "class"])
@pytest.mark.parametrize("over", ["query", "class"])
def test_every_metric_of_retrieval_has_an_interval(average: Any, over: Any) -> None:
    retrieval = Retrieval(k=(1, 5), average=average)
    metrics = run([retrieval], [clustered(0, 80)])
    tables = retrieval.evidence()
    resampled = partial(retrieval.resampled, tables, over=over)
    found = Bootstrap(over=over).intervals(resampled, unit_table(tables))
    assert found.keys() == metrics.keys() - {"queries_without_relevant"}
    assert all(found[name].low < metrics[name] < found[name].high for name in found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 95}, "`level` must be above 0 and below 1, such as 0.95, got 95"),
        ({"resamples": 10}, "`resamples` must be a whole number of at least 200, got 10"),
        ({"seed": -1}, "`seed` must be a whole number of at least 0, got -1"),
        ({"over": "label"}, "`over` must be 'query', 'class' or 'group', got 'label'"),
    ],
)
def test_a_wrong_option_is_an_error(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Bootstrap(**options)


@pytest.mark.parametrize("make", [ConfusionMatrix, Calibration])
def test_a_single_unit_tells_nothing_of_others(make: Callable[[], Inferencer]) -> None:
    label, output = np.ones(3, np.int64), np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 2.0]])
    rows = {"id": np.arange(3), "role": np.full(3, "query"), "output": output, "label": label}
    inferencer = make()
    tables = evidence(inferencer, rows)
    resampled = partial(inferencer.resampled, tables, over="class")
    found = Bootstrap(over="class").intervals(resampled, unit_table(tables))
    assert found.keys() == dict(inferencer.compute() or {}).keys()
    assert np.isnan(list(found.values())).all()
