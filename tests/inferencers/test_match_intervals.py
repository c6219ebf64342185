"""Confidence intervals of match rates, whose pairs depend on one another."""

from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np
import pytest

from milepost.inferencers import Bootstrap, MatchRate, unit_table
from tests.inferencers.rounds import clustered, evaluate, run, table


def examined(inferencer: MatchRate, *tables: Any) -> tuple[dict[str, float], Any]:
    """Return the metrics and the evidence."""
    inferencer.keep_evidence = inferencer.will_resample = True
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


def people(rng: np.random.Generator, count: int, each: int) -> Any:
    """Draw people, some of whom are harder to recognise than others."""
    labels = np.repeat(np.arange(count), each)
    spread = 0.5 * np.exp(0.4 * rng.standard_normal(count))[labels, None]
    centres = rng.standard_normal((count, 6))[labels]
    embeddings = centres + spread * rng.standard_normal((len(labels), 6))
    return table("query", embeddings.astype(np.float32), labels)


def coverage(trials: int, count: int, each: int, *, runs: int) -> dict[str, float]:
    """Return how often the 95 % interval of a metric holds the value of very many people."""
    make = partial(MatchRate, thresholds=(0.6,), far=(0.05, 0.01))
    many = [
        evaluate(make, people(np.random.default_rng(10**6 + at), 1500, each)) for at in range(runs)
    ]
    hits: dict[str, list[bool]] = defaultdict(list)
    for trial in range(trials):
        inferencer = make()
        _, tables = examined(inferencer, people(np.random.default_rng(trial), count, each))
        bootstrap = Bootstrap(over="class", resamples=400, seed=trial)
        resampled = partial(inferencer.resampled, tables, over="class")
        for name, (low, high) in bootstrap.intervals(resampled, unit_table(tables)).items():
            hits[name].append(low <= np.mean([metrics[name] for metrics in many]) <= high)
    del hits["best_f1"]  # it depends on the share of genuine pairs, and so on the number of people
    return {name: float(np.mean(found)) for name, found in hits.items()}


def test_most_intervals_hold_the_true_value() -> None:
    assert min(coverage(50, 40, 5, runs=3).values()) >= 0.86


@pytest.mark.slow
def test_of_95_percent_intervals_95_percent_hold_the_true_value() -> None:
    shares = coverage(500, 100, 4, runs=24)
    wide = shares.pop("match_rate_impostor@0.6")  # a pair's own chance counts for both its people
    assert wide >= 0.95
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares
