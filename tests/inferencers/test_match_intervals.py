"""Confidence intervals of match rates, whose pairs depend on one another."""

from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np
import pytest

from milepost.inferencers import Bootstrap, MatchRate, Over, Resamples, unit_table
from tests.inferencers.rounds import clustered, evaluate, run, table


def examined(
    inferencer: MatchRate, *tables: Any, over: Over = "query"
) -> tuple[dict[str, float], Any]:
    """Return the metrics and the evidence."""
    inferencer.keep_evidence, inferencer.will_resample = True, over
    return run([inferencer], tables), inferencer.evidence()


@pytest.mark.parametrize("over", ["query", "class"])
def test_a_pair_counts_as_often_as_its_rows_were_drawn(over: Any) -> None:
    rows = clustered(1, 40)
    inferencer = MatchRate(thresholds=(0.3,))
    _, tables = examined(inferencer, rows)
    queries, rng = tables["queries"], np.random.default_rng(2)
    weights = rng.integers(0, 4, 40).astype(float)
    if over == "class":
        weights = rng.integers(1, 4, 5).astype(float)[queries["label"]]
    found = inferencer.resampled(tables, weights[None], over)
    order = np.argsort(rows["id"])
    unit = rows["output"] / np.linalg.norm(rows["output"], axis=1, keepdims=True)
    match = (unit @ unit.T >= 0.3)[order][:, order]
    same = queries["label"][:, None] == queries["label"][None, :]
    above = np.triu(np.ones_like(same), 1)
    drawn = weights[:, None] + weights[None, :] - 1
    if over == "class":
        drawn = np.where(same, weights[:, None], drawn)
    for name, kind in (("match_rate_genuine@0.3", same), ("match_rate_impostor@0.3", ~same)):
        pairs = drawn * (above & kind)
        assert found[name][0] == pytest.approx((pairs * match).sum() / pairs.sum(), abs=1e-12)


def test_resampled_rates_are_shares() -> None:
    rows = clustered(0, 24)
    inferencer = MatchRate(thresholds=(0.95,), far=(0.1,))
    _, tables = examined(inferencer, rows)
    weights = np.random.default_rng(0).multinomial(24, np.full(24, 1 / 24), 500).astype(float)
    found = inferencer.resampled(tables, weights, "query")
    rates = np.stack([found[name] for name in found])
    assert np.nanmin(rates) >= 0
    assert np.nanmax(rates) <= 1


def test_queries_drawn_twice_meet_the_gallery_twice() -> None:
    queries, gallery = clustered(3, 30), clustered(4, 40, "gallery")
    other = clustered(5, 40, "calibration")
    make = partial(MatchRate, thresholds=(0.3,), calibrate_on="calibration")
    inferencer = make()
    _, tables = examined(inferencer, queries, gallery, other)
    drawn = np.random.default_rng(6).integers(0, 3, 30)
    found = inferencer.resampled(tables, drawn[None].astype(float), "query")
    order = np.repeat(np.argsort(queries["id"]), drawn)
    repeated = {name: column[order] for name, column in queries.items()}
    repeated["id"] = np.arange(drawn.sum())
    expected = evaluate(make, repeated, gallery, other)
    for name in found.keys() - {"auc"}:
        assert found[name][0] == pytest.approx(expected[name], abs=1e-12), name
    assert found["auc"][0] == pytest.approx(expected["auc"], abs=0.01)  # to first order


def test_chosen_thresholds_follow_the_queries_to_first_order() -> None:
    queries, gallery = clustered(7, 300), clustered(8, 100, "gallery")
    inferencer = MatchRate(far=(0.1, 0.01))
    _, tables = examined(inferencer, queries, gallery)
    drawn = np.random.default_rng(9).poisson(1.0, 300)
    found = inferencer.resampled(tables, drawn[None].astype(float), "query")
    order = np.repeat(np.argsort(queries["id"]), drawn)
    repeated = {name: column[order] for name, column in queries.items()}
    repeated["id"] = np.arange(drawn.sum())
    expected = evaluate(partial(MatchRate, far=(0.1, 0.01)), repeated, gallery)
    metrics = inferencer.compute()
    for name, values in found.items():
        change = expected[name] - metrics[name]
        assert values[0] - metrics[name] == pytest.approx(change, rel=0.3, abs=2e-3), name


@pytest.mark.parametrize("over", ["query", "class"])
def test_how_far_chance_moves_a_rate_is_told_by_pairs_of_units(over: Any) -> None:
    rng = np.random.default_rng(0)
    rows = table("query", rng.standard_normal((240, 8)).astype("f4"), np.arange(240) // 2)
    inferencer = MatchRate(thresholds=(0.3,))
    metrics, tables = examined(inferencer, rows, over=over)
    assert tables["signed_pairs"].keys() >= {"id", "match_rate_impostor@0.3", "auc"}
    bootstrap = Bootstrap(over=over, resamples=400)
    found = bootstrap.draw(partial(inferencer.resampled, tables, over=over), tables["queries"])
    assert found is not None
    rate, pairs = metrics["match_rate_impostor@0.3"], metrics["impostor_pairs"]
    by_chance = np.var(found.metrics["match_rate_impostor@0.3/pairs"][1:401])
    assert by_chance == pytest.approx(rate * (1 - rate) / pairs, rel=0.3)
    low, high = found.interval("match_rate_impostor@0.3", 0.95)
    whole = found.metrics["match_rate_impostor@0.3"][1:401].std()
    assert 0.7 < (high - low) / (4 * whole) < 0.9  # nearly nothing but chance
    chance = np.ptp(found.metrics["match_rate_genuine@0.3/pairs"][1:401])
    assert (chance == 0) == (over == "class")  # a genuine pair is drawn as one


def test_pairs_with_a_gallery_are_drawn_with_one_row_alone() -> None:
    inferencer = MatchRate(thresholds=(0.3,))
    _, tables = examined(inferencer, clustered(3, 30), clustered(4, 40, "gallery"), over="class")
    assert "signed_pairs" not in tables
    found = inferencer.resampled(tables, np.ones((1, 30)), "class")
    assert not any(name.endswith("/pairs") for name in found)


def people(rng: np.random.Generator, count: int, each: int) -> tuple[Any, Any]:
    """Draw people, some of whom are harder to recognise than others, as two models see them."""
    labels = np.repeat(np.arange(count), each)
    spread = 0.5 * np.exp(0.4 * rng.standard_normal(count))[labels, None]
    centres = rng.standard_normal((count, 6))[labels]
    one, other = rng.standard_normal((2, len(labels), 6))
    seen = centres + spread * one, centres + 1.1 * spread * (0.8 * one + 0.6 * other)
    first, second = (table("query", each.astype(np.float32), labels) for each in seen)
    return first, second


class Coverage:
    """How often 95 % intervals hold the value of very many people.

    Attributes:
        singles: by metric.
        differences: by metric, of those between two models.
    """

    def __init__(
        self, trials: int, count: int, each: int, *, runs: int, many_people: int = 1500
    ) -> None:
        make = partial(MatchRate, thresholds=(0.6,), far=(0.05, 0.01))
        many = [
            [
                evaluate(make, rows)
                for rows in people(np.random.default_rng(10**6 + at), many_people, each)
            ]
            for at in range(runs)
        ]
        held: dict[str, list[bool]] = defaultdict(list)
        apart: dict[str, list[bool]] = defaultdict(list)
        for trial in range(trials):
            bootstrap = Bootstrap(over="class", resamples=400, seed=trial)
            drawn = [
                self.drawn(make(), rows, bootstrap)
                for rows in people(np.random.default_rng(trial), count, each)
            ]
            changes = drawn[1].minus(drawn[0])
            for name in drawn[0].metrics:
                if name in many[0][0] and name != "best_f1":  # it depends on the number of people
                    truth = np.mean([[metrics[name] for metrics in both] for both in many], axis=0)
                    low, high = drawn[0].interval(name, 0.95)
                    held[name].append(low <= truth[0] <= high)
                    low, high = changes.interval(name, 0.95)
                    apart[name].append(low <= truth[1] - truth[0] <= high)
        self.singles = {name: float(np.mean(found)) for name, found in held.items()}
        self.differences = {name: float(np.mean(found)) for name, found in apart.items()}

    @staticmethod
    def drawn(inferencer: MatchRate, rows: Any, bootstrap: Bootstrap) -> Resamples:
        _, tables = examined(inferencer, rows, over="class")
        resampled = partial(inferencer.resampled, tables, over="class")
        found = bootstrap.draw(resampled, unit_table(tables))
        assert found is not None
        return found


def test_some_intervals_hold_the_true_value() -> None:
    found = Coverage(12, 30, 4, runs=1, many_people=400)
    assert min(found.singles.values()) >= 0.7
    assert min(found.differences.values()) >= 0.7


@pytest.mark.slow
def test_of_95_percent_intervals_95_percent_hold_the_true_value() -> None:
    found = Coverage(500, 100, 4, runs=24)
    shares = [*found.singles.values(), *found.differences.values()]
    assert all(0.93 <= share <= 0.97 for share in shares), vars(found)
