import math
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from milepost.neighbors import Distance, pair_scores
from tests.kinds import CONVERTERS

Floats = np.ndarray[Any, np.dtype[np.float32]]
DISTANCES: tuple[Distance, ...] = get_args(Distance)


def tree(values: list[float]) -> float:
    """The tree sum, as it is defined."""
    values = values + [0.0] * (2 ** math.ceil(math.log2(len(values))) - len(values))
    while len(values) > 1:
        half = len(values) // 2
        values = [low + high for low, high in zip(values[:half], values[half:], strict=True)]
    return values[0]


def norm(x: list[float]) -> float:
    return math.sqrt(tree([a * a for a in x]))


def unit(x: list[float]) -> list[float]:
    return [float(np.float32(a / (norm(x) or 1.0))) for a in x]


def score(q: list[float], g: list[float], distance: Distance) -> np.float32:
    """The score of a pair, as it is defined."""
    if distance == "l2":
        return np.float32(-tree([(a - b) * (a - b) for a, b in zip(q, g, strict=True)]))
    largest = 1.0
    if distance == "cosine":
        q, g = unit(q), unit(g)
    else:
        largest = norm(q) * norm(g)
    total = tree([a * b for a, b in zip(q, g, strict=True)])
    return np.float32(total if abs(total) > largest * 2.0**-36 else 0.0)


def oracle(queries: Floats, gallery: Floats, distance: Distance) -> Floats:
    rows = [[score(q, g, distance) for g in gallery.tolist()] for q in queries.tolist()]
    return np.array(rows, np.float32)


def assert_scores(queries: Floats, gallery: Floats, distance: Distance) -> None:
    """The scores are those of the definition, whatever computes them."""
    expected = oracle(queries, gallery, distance)
    for convert in CONVERTERS:
        scores = pair_scores(convert(queries), convert(gallery), distance=distance)
        np.testing.assert_array_equal(np.asarray(scores), expected)
    one_by_one = pair_scores(queries, gallery, distance=distance, max_memory_bytes=1)
    np.testing.assert_array_equal(one_by_one, expected)


def normal(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("dimension", [1, 2, 3, 7, 64, 100])
def test_scores_are_those_of_the_definition(distance: Distance, dimension: int) -> None:
    assert_scores(normal(0, 13, dimension), normal(1, 17, dimension), distance)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e18])
def test_the_scale_does_not_matter(distance: Distance, scale: float) -> None:
    queries, gallery = normal(2, 11, 5), normal(3, 12, 5)
    assert_scores(
        (queries * scale).astype(np.float32), (gallery * scale).astype(np.float32), distance
    )


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_vectors_tie_with_all_others(distance: Distance) -> None:
    queries = np.repeat(normal(4, 3, 20), 8, axis=0)
    scores = pair_scores(queries, queries, distance=distance)
    assert_scores(queries, queries, distance)
    np.testing.assert_array_equal(scores, np.repeat(scores[:, ::8], 8, axis=1))


@pytest.mark.parametrize("distance", DISTANCES)
def test_vectors_that_hardly_differ_are_told_apart_by_the_definition(distance: Distance) -> None:
    queries = (normal(5, 1, 20) + np.float32(1e-6) * normal(6, 15, 20)).astype(np.float32)
    assert_scores(queries, queries, distance)
    far_out = np.concatenate([queries, 1e6 + normal(7, 1, 20)]).astype(np.float32)
    assert_scores(far_out, far_out, distance)


@pytest.mark.parametrize("distance", DISTANCES)
def test_sums_half_way_between_two_float32_are_settled(distance: Distance) -> None:
    # 2^12 + 1 squared lies half way between two float32; a small third number moves it.
    near = 2.0**-21
    queries = np.array([[4097.0, 0.0, near], [4097.0, 0.0, 0.0], [0.0, 0.0, 0.3]], np.float32)
    gallery = np.array([[4097.0, 0.0, near], [-4097.0, 0.1, -near], [0, 0, 0]], np.float32)
    assert_scores(queries, gallery, distance)


@pytest.mark.parametrize("distance", DISTANCES)
def test_pixels_and_counts_are_exact(distance: Distance) -> None:
    pixels = np.random.default_rng(8).integers(0, 256, (7, 150)).astype(np.float32)
    assert_scores(pixels, pixels, distance)


def test_a_vector_of_zeros_has_cosine_0_with_anything() -> None:
    rows = np.array([[0.0, 0.0], [3.0, 4.0]], np.float32)
    assert pair_scores(rows, rows).tolist() == [[0.0, 0.0], [0.0, 1.0]]
    assert_scores(rows, rows, "cosine")


@pytest.mark.parametrize("distance", ["cosine", "dot"])
def test_orthogonal_vectors_score_0_though_their_products_round(distance: Distance) -> None:
    a, b = normal(9, 2, 6)
    queries = np.concatenate([a, b])[None, :]
    gallery = np.concatenate([-b, a])[None, :]
    assert pair_scores(queries, gallery, distance=distance).tolist() == [[0.0]]
    assert_scores(queries, gallery, distance)


def test_a_score_too_large_for_float32_is_infinite() -> None:
    rows = np.array([[3e38], [-3e38], [1.0]])
    assert pair_scores(rows, rows, distance="dot")[0].tolist() == [
        np.inf,
        -np.inf,
        np.float32(3e38),
    ]
    assert pair_scores(rows, rows, distance="l2")[0].tolist() == [0.0, -np.inf, -np.inf]


def test_no_score_is_a_negative_zero() -> None:
    rows = np.array([[0.0, 1.0], [-1e-30, 0.0], [1e-30, 0.0]], np.float32)
    for distance in DISTANCES:
        scores = pair_scores(rows, rows, distance=distance)
        assert not np.signbit(scores[scores == 0]).any()


def test_other_types_are_converted_to_float32() -> None:
    rows = normal(10, 5, 4).astype(np.float64)
    expected = pair_scores(rows.astype(np.float32), rows.astype(np.float32))
    np.testing.assert_array_equal(pair_scores(rows, rows), expected)


@pytest.mark.parametrize("distance", DISTANCES)
def test_many_equal_or_near_vectors_cost_no_list_of_pairs(distance: Distance) -> None:
    rows = np.tile(normal(12, 2, 16), (700, 1))  # 1.96 million pairs of four kinds
    scores = pair_scores(rows, rows, distance=distance)
    np.testing.assert_array_equal(scores, np.tile(scores[:2, :2], (700, 700)))
    np.testing.assert_array_equal(scores[:2, :2], oracle(rows[:2], rows[:2], distance))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rows=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 9)),
        elements=st.floats(-(2.0**40), 2.0**40, width=32),
    ),
    distance=st.sampled_from(DISTANCES),
)
def test_any_vectors_have_the_scores_of_the_definition(rows: Floats, distance: Distance) -> None:
    assert_scores(rows, rows, distance)
    scores = pair_scores(rows, rows, distance=distance)
    np.testing.assert_array_equal(scores, scores.T)


def test_wrong_arguments_are_errors_that_say_so() -> None:
    rows = np.ones((2, 3))
    with pytest.raises(LookupError, match=r"^unknown distance 'cosin'; did you mean 'cosine'\? "):
        pair_scores(rows, rows, distance="cosin")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"^`queries` must have shape \(rows, dimension\), got \(3,\)$"
    ):
        pair_scores(rows[0], rows)
    message = r"^`queries` and `gallery` must have one dimension, got 3 and 2$"
    with pytest.raises(ValueError, match=message):
        pair_scores(rows, rows[:, :2])
    rows = np.array([[1.0], [1e39], [np.nan]])
    message = r"^`gallery` must be finite in float32, got NaN or infinity in row 1$"
    with pytest.raises(ValueError, match=message):
        pair_scores(rows[:1], rows)
