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
    SNRDistance,
    _distance_measure,
    pair_scores,
)
from tests.kinds import BACKENDS, CONVERTERS

Array = np.ndarray[Any, np.dtype[Any]]
CASES = json.loads((Path(__file__).parents[1] / "cases" / "metric_cases.json").read_text())
KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (CosineSimilarity, DotProductSimilarity, LpDistance, SNRDistance)
}
MEASURES: list[DistanceMeasure] = [
    CosineSimilarity(),
    DotProductSimilarity(),
    DotProductSimilarity(normalize_embeddings=True),
    *(
        LpDistance(p=p, power=power, normalize_embeddings=normalize)
        for p in (1, 1.5, 2, 3, 17.25, math.inf)
        for power, normalize in ((1, True), (2, False), (0.7, False))
    ),
    SNRDistance(),
    SNRDistance(normalize_embeddings=False),
]
measures = pytest.mark.parametrize("measure", MEASURES, ids=repr)


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def all_pairs(measure: DistanceMeasure, query: Array, ref: Array) -> Array:
    """The matrix, made of the pairwise form."""
    i, j = np.indices((len(query), len(ref))).reshape(2, -1)
    return np.asarray(measure.pairwise(query[i], ref[j])).reshape(len(query), len(ref))


def norm(x: list[float], p: float) -> float:
    """The Lp norm, by way of its formula."""
    largest = max(map(abs, x))
    if largest == 0 or math.isinf(p):
        return largest
    total = math.fsum((abs(a) / largest) ** p for a in x)
    return float(largest * total ** (1 / p))


def brute_force(measure: Any, x: list[float], y: list[float]) -> float:
    """The value of a pair, by way of its formula."""
    if measure.normalize_embeddings:
        p = getattr(measure, "p", 2)
        x, y = ([a / (norm(z, p) or 1.0) for a in z] for z in (x, y))
    if measure.is_inverted:
        return math.fsum(a * b for a, b in zip(x, y, strict=True))
    difference = [a - b for a, b in zip(x, y, strict=True)]
    if isinstance(measure, LpDistance):
        return float(norm(difference, measure.p) ** measure.power)
    noise, signal = (
        math.fsum((a - math.fsum(z) / len(z)) ** 2 for a in z) for z in (difference, x)
    )
    if signal < 1e-12:  # constant
        return math.inf if noise > 1e-12 else 0.0
    return noise / signal


def assert_equal(found: Any, expected: Any) -> None:
    """Of one kind, one type and one value."""
    assert (type(found), found.dtype) == (type(expected), expected.dtype)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize("case", CASES["distance_cases"], ids=lambda case: case["id"])
def test_a_case_has_its_values(case: dict[str, Any]) -> None:
    measure = KINDS[case["distance"]](**case["kwargs"])
    query, ref = np.array(case["query"]), np.array(case["reference"])
    assert measure.is_inverted == case["is_inverted"]
    for values in (measure.matrix(query, ref), all_pairs(measure, query, ref)):
        np.testing.assert_allclose(values, case["matrix"], rtol=0, atol=1e-6)


@measures
@pytest.mark.parametrize("dimension", [2, 3, 37])
def test_both_forms_give_the_same_bits_in_any_block_and_library(
    measure: DistanceMeasure, dimension: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, ref = normal(0, 21, dimension), normal(1, 34, dimension)
    query[3] = ref[5] = 0.0
    query[4] = ref[6]
    values = measure.matrix(query, ref)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(all_pairs(measure, query, ref), values)
    for convert in CONVERTERS:
        own = convert(query), convert(ref)
        assert_equal(measure.matrix(*own), convert(values))
        assert_equal(measure.pairwise(own[0], own[1][:21]), convert(values.diagonal().copy()))
    if measure.is_symmetric:
        np.testing.assert_array_equal(measure.matrix(ref, query), values.T)
    for backend in BACKENDS:
        monkeypatch.setattr(backend, "tile_pairs", lambda like: 150)
    monkeypatch.setattr(_distance_measure, "_CHUNK", 1)
    for convert in CONVERTERS:
        assert_equal(measure.matrix(convert(query), convert(ref)), convert(values))
    np.testing.assert_array_equal(all_pairs(measure, query[:4], ref[:4]), values[:4, :4])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    rows=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(2, 9)),
        elements=st.integers(-40, 40).map(lambda number: number / 8),
    ),
    measure=st.sampled_from(MEASURES),
)
def test_any_vectors_have_the_values_of_the_formula(rows: Array, measure: DistanceMeasure) -> None:
    values = measure.matrix(rows, rows)
    expected = [[brute_force(measure, x, y) for y in rows.tolist()] for x in rows.tolist()]
    # A power below 1 magnifies what is left of unit vectors that cancel; SNR divides by little.
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=2e-6)
    np.testing.assert_array_equal(all_pairs(measure, rows, rows), values)


def test_cosine_and_dot_product_are_the_scores_of_a_search() -> None:
    rows = normal(4, 20, 8)
    for measure, distance in ((CosineSimilarity(), "cosine"), (DotProductSimilarity(), "dot")):
        expected = pair_scores(rows, rows, distance=distance)  # type: ignore[arg-type]
        np.testing.assert_array_equal(measure.matrix(rows, rows), expected)
    squares = LpDistance(power=2, normalize_embeddings=False).matrix(rows, rows)
    np.testing.assert_array_equal(squares, 0.0 - pair_scores(rows, rows, distance="l2"))


def test_vectors_of_zeros_have_defined_values() -> None:
    rows = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert CosineSimilarity().matrix(rows, rows).tolist() == [[0, 0], [0, 1]]
    assert DotProductSimilarity().matrix(rows, rows).tolist() == [[0, 0], [0, 25]]
    for p in (1, 1.5, 2, math.inf):
        unit = LpDistance(p=p).matrix(rows, rows)
        np.testing.assert_allclose(unit, [[0, 1], [1, 0]], rtol=1e-6)
    far = LpDistance(normalize_embeddings=False).matrix(rows, rows)
    assert far.tolist() == [[0, 5], [5, 0]]
    assert SNRDistance().matrix(rows, rows).tolist() == [[0, math.inf], [1, 0]]


def test_the_noise_of_a_constant_anchor_is_infinite() -> None:
    rows = np.array([[0.1, 0.1, 0.1], [7.0, 7.0, 7.0], [1.0, 2.0, 4.0]])
    values = SNRDistance(normalize_embeddings=False).matrix(rows, rows)
    np.testing.assert_allclose(values[:2], [[0, 0, math.inf]] * 2)
    np.testing.assert_allclose(values[2], [1, 1, 0], rtol=1e-6)


@pytest.mark.parametrize("p", [1, 3, 40, 1000.5, math.inf])
@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])
def test_a_norm_loses_nothing_at_any_scale(p: float, scale: float) -> None:
    x, y = scale * np.array([[1.0, -2.0, 5.0]]), np.zeros((1, 3))
    (value,) = LpDistance(p=p, normalize_embeddings=False).pairwise(x, y)
    assert value == pytest.approx(scale * norm([1.0, 2.0, 5.0], p), rel=1e-6)
    (value,) = LpDistance(p=p).pairwise(x, 3 * x)
    assert value < 1e-6


def test_values_too_large_for_float32_are_infinite() -> None:
    x, y = np.array([[3e38, 1.0]]), np.array([[-3e38, 1.0]])
    for options in ({"p": 1}, {"p": 2}, {"p": 3, "power": 1e6}, {"p": math.inf}, {"power": 80}):
        measure = LpDistance(normalize_embeddings=False, **options)
        assert measure.pairwise(x, y).tolist() == [math.inf]
        assert measure.pairwise(x, x).tolist() == [0.0]


def test_other_types_are_computed_in_float32_and_kept_as_they_are() -> None:
    whole = np.array([[1, 2], [3, 5]])
    whole.setflags(write=False)
    for measure in MEASURES:
        expected = measure.matrix(whole.astype(np.float32), whole.astype(np.float32))
        np.testing.assert_array_equal(measure.matrix(whole, whole), expected)
    assert whole.tolist() == [[1, 2], [3, 5]]


@measures
def test_no_rows_have_no_values(measure: DistanceMeasure) -> None:
    rows = normal(6, 3, 4)
    assert measure.matrix(rows[:0], rows).shape == (0, 3)
    assert measure.matrix(rows, rows[:0]).shape == (3, 0)
    assert measure.pairwise(rows[:0], rows[:0]).shape == (0,)


@pytest.mark.parametrize("p", [0.5, 0, -1, math.nan])
def test_a_p_below_1_is_an_error(p: float) -> None:
    with pytest.raises(ValueError, match=rf"^`p` must be at least 1, got {p}$"):
        LpDistance(p=p)


@pytest.mark.parametrize("power", [0, -1, math.nan, math.inf])
def test_a_power_that_is_not_positive_is_an_error(power: float) -> None:
    with pytest.raises(ValueError, match=rf"^`power` must be above 0 and finite, got {power}$"):
        LpDistance(power=power)


@measures
def test_rows_that_cannot_be_compared_are_an_error(measure: DistanceMeasure) -> None:
    rows = normal(7, 3, 4)
    with pytest.raises(
        ValueError, match=r"^`query` and `ref` must have one dimension, got 4 and 3$"
    ):
        measure.matrix(rows, rows[:, :3])
    with pytest.raises(ValueError, match=r"^`x` and `y` must have as many rows, got 3 and 2$"):
        measure.pairwise(rows, rows[:2])
    with pytest.raises(ValueError, match=r"^`x` must have shape \(rows, dimension\), got \(4,\)$"):
        measure.pairwise(rows[0], rows[0])
    rows[1, 2] = np.nan
    message = "^`ref` must be finite in float32, got NaN or infinity in row 1$"
    with pytest.raises(ValueError, match=message):
        measure.matrix(rows[:1], rows)


def test_one_number_has_no_variance() -> None:
    message = "^`SNRDistance` compares rows of at least 2 numbers, got rows of 1$"
    with pytest.raises(ValueError, match=message):
        SNRDistance().matrix(np.ones((2, 1)), np.ones((2, 1)))


def test_distances_are_values_that_show_their_options() -> None:
    assert repr(LpDistance(p=1)) == "LpDistance(p=1, power=1, normalize_embeddings=True)"
    assert LpDistance(p=1) == LpDistance(p=1) != LpDistance()
    assert repr(CosineSimilarity()) == "CosineSimilarity()"
