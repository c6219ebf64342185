import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from milepost.neighbors import (
    CosineSimilarity,
    DistanceMeasure,
    DotProductSimilarity,
    LpDistance,
    MatchFinder,
    SNRDistance,
    _distances,
)
from tests.kinds import BACKENDS, CONVERTERS

Array = np.ndarray[Any, np.dtype[Any]]
CASES = json.loads((Path(__file__).parents[1] / "cases" / "metric_cases.json").read_text())
MATCH_CASES = {case["id"]: case for case in CASES["match_cases"]}
MEASURES: list[DistanceMeasure] = [
    CosineSimilarity(),
    DotProductSimilarity(),
    LpDistance(),
    LpDistance(p=1, power=2),
    LpDistance(p=3, normalize_embeddings=False),
    SNRDistance(),
]


def finder_of(case: dict[str, Any]) -> MatchFinder:
    kinds = {"CosineSimilarity": CosineSimilarity, "LpDistance": LpDistance}
    return MatchFinder(kinds[case["distance"]](**case["distance_kwargs"]), case["threshold"])


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("convert", CONVERTERS)
@pytest.mark.parametrize("case", CASES["match_cases"], ids=lambda case: case["id"])
def test_a_case_has_its_matches(case: dict[str, Any], convert: Any) -> None:
    finder, query = finder_of(case), convert(np.array(case["query"]))
    ref = None if case["reference"] is None else convert(np.array(case["reference"]))
    matches = finder.get_matching_pairs(query, ref)
    assert isinstance(matches, np.ndarray)
    assert matches.tolist() == case["matrix"]
    pairs = finder.get_matching_pairs(query, ref, return_tuples=True)
    assert pairs == [tuple(pair) for pair in case["pairs"]]


@pytest.mark.parametrize("convert", CONVERTERS)
@pytest.mark.parametrize("case", CASES["match_pair_cases"], ids=lambda case: case["id"])
def test_a_case_has_its_matching_pairs(case: dict[str, Any], convert: Any) -> None:
    whole = MATCH_CASES[case["of_match_case"]]
    rows = np.array(whole["query"])
    x, y = convert(rows[case["x_rows"]]), convert(rows[case["y_rows"]])
    matches = finder_of(whole).is_match(x, y)
    assert isinstance(matches, np.ndarray)
    assert matches.tolist() == case["expected"]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    rows=hnp.arrays(
        np.float32,
        st.tuples(st.integers(2, 6), st.integers(2, 5)),
        elements=st.integers(-3, 3).map(float),
    ),
    split=st.integers(1, 5),
    measure=st.sampled_from(MEASURES),
    place=st.integers(0, 35),
)
def test_every_form_decides_a_pair_alike(
    rows: Array, split: int, measure: DistanceMeasure, place: int
) -> None:
    query, ref = rows[:split], rows
    values = measure.matrix(query, ref)
    threshold = float(values.reshape(-1)[place % values.size])  # one that occurs: a tie
    expected = [
        (i, j)
        for i, j in itertools.product(range(len(query)), range(len(ref)))
        if (values[i, j] >= threshold if measure.is_inverted else values[i, j] <= threshold)
    ]
    finder = MatchFinder(measure, threshold)
    for convert in CONVERTERS:
        matches, scores = finder.get_matching_pairs(
            convert(query), convert(ref), return_scores=True
        )
        assert [tuple(pair) for pair in np.argwhere(matches).tolist()] == expected
        np.testing.assert_array_equal(scores, values)
        pairs, scores = finder.get_matching_pairs(
            convert(query), convert(ref), return_tuples=True, return_scores=True
        )
        assert pairs == expected
        assert scores.tolist() == [values[pair] for pair in expected]
        one_by_one = [
            pair
            for pair in itertools.product(range(len(query)), range(len(ref)))
            if finder.is_match(convert(query[pair[0]]), convert(ref[pair[1]]))
        ]
        assert one_by_one == expected


@pytest.mark.parametrize("measure", MEASURES, ids=repr)
@pytest.mark.parametrize("tile", [1, 20, 200])
def test_blocks_change_nothing(
    measure: DistanceMeasure, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, ref = normal(0, 25, 3), normal(1, 19, 3)
    finder = MatchFinder(measure, float(np.median(measure.matrix(query, ref))))

    def everything(convert: Any) -> tuple[Array, Array, Any]:
        arrays = convert(query), convert(ref)
        matches, scores = finder.get_matching_pairs(*arrays, return_scores=True)
        return matches, scores, finder.get_matching_pairs(*arrays, return_tuples=True)

    matches, scores, pairs = everything(np.asarray)
    for backend in BACKENDS:
        monkeypatch.setattr(backend, "tile_pairs", lambda like: tile)
    for convert in CONVERTERS:
        again = everything(convert)
        np.testing.assert_array_equal(again[0], matches)
        np.testing.assert_array_equal(again[1], scores)
        assert again[2] == pairs == [tuple(pair) for pair in np.argwhere(matches).tolist()]


def shapes(kind: str) -> Array:
    rows = normal(6, 90, 8)
    if kind == "collapsed":
        rows = 1 + 1e-5 * rows
    elif kind == "equal":
        rows[:] = rows[0]
    elif kind == "outlier":
        rows[5] *= 1e6
    elif kind == "far":
        rows += 1e4
    elif kind == "zeros":
        rows[::2] = 0.0
    return rows


@pytest.mark.parametrize("kind", ["normal", "collapsed", "equal", "outlier", "far", "zeros"])
@pytest.mark.parametrize("scale", [1e-22, 1e-9, 1.0, 1e15, 1e25])
def test_decisions_are_what_the_values_say(kind: str, scale: float) -> None:
    rows = (shapes(kind) * scale).astype(np.float32)
    for measure in (
        CosineSimilarity(),
        DotProductSimilarity(),
        LpDistance(normalize_embeddings=False),
        LpDistance(power=3),
        LpDistance(power=1e-3, normalize_embeddings=False),
    ):
        values = measure.matrix(rows, rows)
        for threshold in (0.0, 1.0, *np.quantile(values, [0, 0.01, 0.5, 1], method="nearest")):
            finder = MatchFinder(measure, float(threshold))
            expected = measure.meets(values, float(threshold))
            for convert in CONVERTERS:
                matches = finder.get_matching_pairs(convert(rows))
                np.testing.assert_array_equal(matches, expected)


@pytest.mark.parametrize("measure", [CosineSimilarity(), DotProductSimilarity(), LpDistance()])
@pytest.mark.parametrize("convert", CONVERTERS)
def test_few_scores_are_computed_to_decide(
    measure: DistanceMeasure, convert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = normal(7, 300, 16)
    values = measure.matrix(rows, rows)
    threshold = float(np.quantile(values, 0.7, method="nearest"))
    monkeypatch.delattr(_distances, "score_block")
    matches = MatchFinder(measure, threshold).get_matching_pairs(convert(rows))
    np.testing.assert_array_equal(matches, measure.meets(values, threshold))


def test_queries_without_references_are_compared_with_themselves() -> None:
    rows, finder = normal(4, 9, 3), MatchFinder(threshold=0.5)
    np.testing.assert_array_equal(
        finder.get_matching_pairs(rows), finder.get_matching_pairs(rows, rows)
    )
    assert finder.get_matching_pairs(rows).diagonal().all()


def test_a_single_pair_gives_one_bool() -> None:
    finder = MatchFinder(threshold=0.5)
    for rows in (convert(normal(5, 2, 3)) for convert in CONVERTERS):
        assert finder.is_match(rows[0], rows[0]) is True
        assert finder.is_match(rows[:1], rows[:1], threshold=1.5) is False
        assert np.array_equal(finder.is_match(rows, rows), [True, True])
    assert np.shape(finder.is_match(np.ones((0, 3)), np.ones((0, 3)))) == (0,)


def test_a_threshold_is_met_by_the_value_that_it_rounds_to() -> None:
    rows = np.array([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]])
    finder = MatchFinder()
    assert finder.is_match(rows[0], rows[1], threshold=0.6)
    assert finder.is_match(rows[0], rows[2], threshold=0.8)
    assert not finder.is_match(rows[0], rows[2], threshold=0.8000001)
    distance = MatchFinder(LpDistance(normalize_embeddings=False), threshold=0.1)
    assert distance.is_match(np.array([[0.0]]), np.array([[0.1]]))


def test_the_threshold_of_a_call_comes_before_that_of_the_finder() -> None:
    rows, finder = np.array([[1.0, 0.0], [0.6, 0.8]]), MatchFinder(threshold=0.9)
    assert finder.get_matching_pairs(rows, threshold=0.5).all()
    assert finder.get_matching_pairs(rows, threshold=0).all()
    assert not finder.is_match(rows[0], rows[1])
    assert finder.is_match(rows[0], rows[1], threshold=0)
    assert MatchFinder(LpDistance(), threshold=-math.inf).get_matching_pairs(rows).sum() == 0
    assert MatchFinder(LpDistance(), threshold=1e300).get_matching_pairs(rows).all()


def test_a_missing_threshold_is_an_error() -> None:
    rows, finder = np.eye(2), MatchFinder()
    message = r"^`threshold` must be given, here or to MatchFinder, or be set by `calibrate`$"
    with pytest.raises(ValueError, match=message):
        finder.get_matching_pairs(rows)
    with pytest.raises(ValueError, match=message):
        finder.is_match(rows, rows)


def test_wrong_arguments_are_errors_that_say_so() -> None:
    rows = np.eye(3)
    with pytest.raises(ValueError, match=r"^`threshold` must be a number, got nan$"):
        MatchFinder(threshold=math.nan)
    with pytest.raises(ValueError, match=r"^`threshold` must be a number, got nan$"):
        MatchFinder().is_match(rows, rows, math.nan)
    message = r"^`distance` must be a DistanceMeasure, as CosineSimilarity\(\), got 'cosine'$"
    with pytest.raises(TypeError, match=message):
        MatchFinder("cosine")  # type: ignore[arg-type]
    finder = MatchFinder(threshold=0.5)
    message = r"^`query` and `ref` must have one dimension, got 3 and 2$"
    with pytest.raises(ValueError, match=message):
        finder.get_matching_pairs(rows, rows[:, :2])
    with pytest.raises(ValueError, match=r"^`x` and `y` must have as many rows, got 3 and 2$"):
        finder.is_match(rows, rows[:2])
    rows[2, 0] = math.inf
    message = r"^`query` must be finite in float32, got NaN or infinity in row 2$"
    with pytest.raises(ValueError, match=message):
        finder.get_matching_pairs(rows)


def test_a_finder_shows_its_options() -> None:
    assert repr(MatchFinder(threshold=0.9)) == "MatchFinder(CosineSimilarity(), threshold=0.9)"
