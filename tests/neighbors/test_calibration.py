import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.neighbors import (
    Calibration,
    CosineSimilarity,
    DistanceMeasure,
    DotProductSimilarity,
    LpDistance,
    MatchFinder,
    PairRates,
    SNRDistance,
)
from tests.kinds import BACKENDS, CONVERTERS

Array = np.ndarray[Any, np.dtype[Any]]
MEASURES: list[DistanceMeasure] = [
    CosineSimilarity(),
    DotProductSimilarity(),
    LpDistance(normalize_embeddings=False),
    LpDistance(p=1),
    SNRDistance(),
]
TARGETS = [
    "best_f1",
    *("far=0.001", "far=0.1", "far=1"),
    *("precision=0.4", "precision=0.7", "precision=1"),
    *("recall=0.05", "recall=0.5", "recall=1"),
]


def clusters(seed: int, rows: int, classes: int, noise: float = 0.8) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    centres, labels = rng.standard_normal((classes, 4)), rng.integers(0, classes, rows)
    rows_of = centres[labels] + noise * rng.standard_normal((rows, 4))
    return rows_of.astype(np.float32), labels


def rates(measure: DistanceMeasure, rows: Array, labels: Array, threshold: float) -> PairRates:
    """What a threshold reaches, by a list of pairs."""
    ways = itertools.combinations if measure.is_symmetric else itertools.permutations
    i, j = np.array(list(ways(range(len(rows)), 2))).T
    values, same = measure.pairwise(rows[i], rows[j]), labels[i] == labels[j]
    matches = values >= threshold if measure.is_inverted else values <= threshold
    true, false, genuine = (int(x.sum()) for x in (matches & same, matches & ~same, same))
    return PairRates(
        precision=true / (true + false) if true + false else math.nan,
        recall=true / genuine,
        far=false / int((~same).sum()),
        f1=2 * true / (true + false + genuine),
        genuine_pairs=genuine,
        impostor_pairs=int((~same).sum()),
    )


def best(measure: DistanceMeasure, rows: Array, labels: Array, target: str) -> float | None:
    """The threshold that meets a target, by trying all, the strictest first."""
    values = np.unique(measure.matrix(rows, rows)[~np.eye(len(rows), dtype=bool)])
    strictest_first: list[float] = (values[::-1] if measure.is_inverted else values).tolist()
    reached = {t: rates(measure, rows, labels, t) for t in strictest_first}
    name, _, number = target.partition("=")
    if name == "best_f1":
        return max(strictest_first, key=lambda t: reached[t].f1)
    rate = float(number)
    if name == "recall":
        return next(t for t in strictest_first if reached[t].recall >= rate)
    if name == "far":  # the least strict one, although others may have the same recall
        return next((t for t in strictest_first[::-1] if reached[t].far <= rate), None)
    good = [t for t in strictest_first if reached[t].precision >= rate]
    return max(good, key=lambda t: reached[t].recall) if good else None


@pytest.mark.parametrize("measure", MEASURES, ids=repr)
@pytest.mark.parametrize("target", TARGETS)
def test_the_threshold_is_that_of_trying_all(measure: DistanceMeasure, target: str) -> None:
    rows, labels = clusters(0, 24, 4)
    others = clusters(1, 17, 3)
    finder = MatchFinder(measure)
    expected = best(measure, rows, labels, target)
    if expected is None:
        message = f"^no threshold reaches '{target}' on the rows fitted on; ask for less$"
        with pytest.raises(ValueError, match=message):
            finder.calibrate(rows, labels, target=target, held_out=others)
        return
    report = finder.calibrate(rows, labels, target=target, held_out=others)
    assert report == Calibration(
        target=target,
        threshold=expected,
        fitted=rates(measure, rows, labels, expected),
        held_out=rates(measure, *others, expected),
    )
    assert finder.threshold == expected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    numbers=st.lists(st.integers(0, 6), min_size=5, max_size=9),
    measure=st.sampled_from([LpDistance(normalize_embeddings=False), DotProductSimilarity()]),
    target=st.sampled_from(TARGETS),
)
def test_ties_are_accepted_together(
    numbers: list[int], measure: DistanceMeasure, target: str
) -> None:
    rows, labels = np.array(numbers, np.float32)[:, None], np.array([0, 0, 1, 1, 1, 2, 2, 3, 3])
    labels = labels[: len(rows)]
    expected, finder = best(measure, rows, labels, target), MatchFinder(measure)
    if expected is None:
        message = f"^no threshold reaches '{target}' on the rows fitted on; ask for less$"
        with pytest.raises(ValueError, match=message):
            finder.calibrate(rows, labels, target=target, held_out=(rows, labels))
    else:
        report = finder.calibrate(rows, labels, target=target, held_out=(rows, labels))
        assert report.threshold == expected
        assert report.fitted == report.held_out == rates(measure, rows, labels, expected)


@pytest.mark.parametrize("target", ["precision=0.8", "far=0.002", "recall=0.5", "best_f1"])
def test_the_threshold_is_told_apart_from_others_of_its_bin(target: str) -> None:
    # Forty near pairs, 1 + k / 2^16 apart: all in one 512th of an octave. Each fourth is impostor.
    k = np.arange(40)
    rows = np.stack([4.0 * k, 4.0 * k + 1 + k / 2**16], axis=1).reshape(-1, 1)
    labels = np.repeat(k, 2)
    labels[7::8] = 100 + k[3::4]
    measure = LpDistance(normalize_embeddings=False)
    report = MatchFinder(measure).calibrate(rows, labels, target=target, held_out=(rows, labels))
    assert report.threshold == best(measure, rows.astype(np.float32), labels, target)
    assert 1 < report.threshold < 1 + 1 / 512


@pytest.mark.parametrize("measure", MEASURES, ids=repr)
@pytest.mark.parametrize("tile", [1, 30, None])
@pytest.mark.parametrize("convert", CONVERTERS)
def test_neither_order_nor_blocks_nor_library_change_the_report(
    measure: DistanceMeasure, tile: int | None, convert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, labels = clusters(2, 60, 9)
    expected = MatchFinder(measure).calibrate(rows, labels, target="recall=0.7", seed=3)
    if tile:
        for backend in BACKENDS:
            monkeypatch.setattr(backend, "tile_pairs", lambda like: tile)
    order = np.random.default_rng(3).permutation(60)
    arrays = convert(rows[order]), convert(labels[order])
    again = MatchFinder(measure).calibrate(*arrays, target="recall=0.7", seed=3)
    assert again == expected


def test_classes_are_held_out_whole_and_by_seed() -> None:
    rows, labels = clusters(4, 90, 12)
    counts = np.bincount(labels)
    reports = [
        MatchFinder().calibrate(rows, labels, target="recall=0.5", held_out=share, seed=seed)
        for share, seed in ((0.25, 0), (0.25, 0), (0.25, 1))
    ]
    assert reports[0] == reports[1] != reports[2]
    for report in reports:
        held = report.held_out.genuine_pairs
        assert held + report.fitted.genuine_pairs == (counts * (counts - 1) // 2).sum()
        parts = report.fitted, report.held_out
        total = [part.genuine_pairs + part.impostor_pairs for part in parts]
        sizes = [(1 + math.isqrt(1 + 8 * pairs)) // 2 for pairs in total]
        assert sum(sizes) == 90
        chosen = {sum(c) for c in itertools.combinations(counts.tolist(), 3)}
        assert sizes[1] in chosen  # a quarter of twelve classes


def test_a_calibrated_finder_accepts_what_the_report_says() -> None:
    rows, labels = clusters(5, 40, 4)
    finder = MatchFinder(LpDistance())
    report = finder.calibrate(rows, labels, target="far=0.05", held_out=(rows, labels))
    pairs = finder.get_matching_pairs(rows, return_tuples=True)
    matching = [labels[i] == labels[j] for i, j in pairs if i < j]
    assert np.mean(matching) == report.held_out.precision
    assert sum(matching) == report.held_out.recall * report.held_out.genuine_pairs


def test_labels_keep_their_type() -> None:
    rows, labels = clusters(6, 40, 6)
    finder = MatchFinder()
    expected = finder.calibrate(rows, labels)
    near = labels + 2**60  # that float64 cannot tell apart
    names = np.array([f"class {label}" for label in labels])
    for others in (names, names.tolist(), *(convert(near) for convert in CONVERTERS)):
        assert finder.calibrate(rows, others) == expected


def test_a_report_cannot_be_changed() -> None:
    report = MatchFinder().calibrate(*clusters(7, 40, 6))
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.threshold = 0.0  # type: ignore[misc]


@pytest.mark.parametrize("target", ["far=0", "precision=1.5", "recall=nan", "far", "recall=most"])
def test_a_rate_out_of_range_is_an_error(target: str) -> None:
    name = target.partition("=")[0]
    message = f"""^`target` must be like "{name}=0.1", above 0 and at most 1, got '{target}'$"""
    with pytest.raises(ValueError, match=message):
        MatchFinder().calibrate(*clusters(8, 40, 6), target=target)


def test_wrong_arguments_are_errors_that_say_so() -> None:
    rows, labels = clusters(9, 40, 6)
    finder = MatchFinder()
    message = r"^unknown target 'recal=0.9'; did you mean 'recall=0.1'\? There are: 'best_f1', "
    with pytest.raises(LookupError, match=message):
        finder.calibrate(rows, labels, target="recal=0.9")
    message = r"^`labels` must have shape \(40,\), one a row, got \(40, 1\)$"
    with pytest.raises(ValueError, match=message):
        finder.calibrate(rows, labels[:, None])
    for share in (0.0, 1.0, math.nan):
        message = r"^`held_out` must be above 0 and below 1, or \(embeddings, labels\), got "
        with pytest.raises(ValueError, match=message):
            finder.calibrate(rows, labels, held_out=share)
    message = (
        r"^the rows held out must have genuine and impostor pairs, got 0 and 780; "
        r"give more labels, or `held_out` as \(embeddings, labels\)$"
    )
    with pytest.raises(ValueError, match=message):
        finder.calibrate(rows, labels, held_out=(rows, np.arange(40)))
    message = r"^the rows fitted on must have genuine and impostor pairs, got 780 and 0; "
    with pytest.raises(ValueError, match=message):
        finder.calibrate(rows, np.zeros(40), held_out=(rows, labels))
    assert finder.threshold is None
