"""The largest products by a threshold: those of brute force, whatever the sample says."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.neighbors import Distance, search
from milepost.neighbors import _best_products as best
from milepost.neighbors._best_products import Best

Array = np.ndarray[Any, np.dtype[Any]]


def whole(seed: int, rows: int, dimension: int = 8, most: int = 9) -> Array:
    """Return rows of whole numbers, whose products float32 computes exactly."""
    rng = np.random.default_rng(seed)
    return rng.integers(-most, most + 1, (rows, dimension)).astype(np.float32)


def assert_largest(found: Best, queries: Array, gallery: Array, k: int) -> None:
    products = queries @ gallery.T
    np.testing.assert_array_equal(found.products, -np.sort(-products, axis=1)[:, :k])
    at_places = np.take_along_axis(products, found.places, axis=1)
    np.testing.assert_array_equal(at_places, found.products)
    assert all(len(set(row)) == k for row in found.places.tolist())


def within(rows: Array, k: int) -> Best:
    blocks = list(best.best_products_within(rows, k))
    places = np.concatenate([np.arange(block.start, block.stop) for block, _ in blocks])
    np.testing.assert_array_equal(places, np.arange(len(rows)))
    products, indices, roundings = zip(*(found for _, found in blocks), strict=True)
    return Best(np.concatenate(products), np.concatenate(indices), max(roundings))


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries were listed after all, each time."""
    numbers: list[int] = []
    original = best._listed

    def listed(queries: Array, gallery: Array, k: int) -> Best:
        numbers.append(len(queries))
        return original(queries, gallery, k)

    monkeypatch.setattr(best, "_listed", listed)
    return numbers


@pytest.mark.parametrize("k", [16, 40])
def test_the_largest_products_are_those_of_brute_force(k: int, refused: list[int]) -> None:
    queries, gallery = whole(0, 900), whole(1, 3000)
    assert_largest(best.best_products(queries, gallery, k), queries, gallery, k)
    assert_largest(within(gallery, k), gallery, gallery, k)
    assert sum(refused) < 0.05 * (900 + 3000)


@pytest.mark.parametrize("order", [1, -1])
def test_a_sample_that_is_not_fair_changes_nothing(order: int, refused: list[int]) -> None:
    gallery = whole(1, 2000)
    gallery[:, 0] *= 9
    gallery = gallery[np.argsort(order * gallery[:, 0])]
    queries = gallery[-200:]
    assert_largest(best.best_products(queries, gallery, 20), queries, gallery, 20)
    assert_largest(within(gallery, 20), gallery, gallery, 20)
    assert sum(refused) > 200


def test_equal_products_are_not_all_collected(refused: list[int]) -> None:
    rows = np.ones((2500, 3), np.float32)
    assert_largest(best.best_products(rows[:70], rows, 20), rows[:70], rows, 20)
    assert_largest(within(rows, 20), rows, rows, 20)
    assert sum(refused) == 70 + 2500


@pytest.mark.parametrize("k", [1, 15, 16])
def test_short_lists_and_small_galleries_are_left_to_lists(k: int) -> None:
    queries, gallery = whole(0, 70), whole(1, 90)
    assert_largest(best.best_products(queries, gallery, k), queries, gallery, k)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(64, 700),
    dimension=st.integers(1, 5),
    most=st.integers(0, 20),
    k=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_rows_with_one_another_are_as_apart(
    rows: int, dimension: int, most: int, k: int, seed: int
) -> None:
    x, k = whole(seed, rows, dimension, most), min(k, rows)
    assert_largest(within(x, k), x, x, k)
    assert_largest(best.best_products(x[:65], x, k), x[:65], x, k)


@pytest.mark.parametrize("dimension", [128, 200, 384, 785])
def test_long_rows_go_through_few_roundings_and_no_more_than_is_said(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    rows = rng.uniform(0.5, 1.5, (600, dimension)).astype(np.float32)  # errors of one sign add up
    found = within(rows, 16)
    exact = rows.astype(np.float64) @ rows.astype(np.float64).T
    errors = np.abs(np.take_along_axis(exact, found.places, axis=1) - found.products)
    assert found.roundings <= min(dimension, 192 + dimension // 128)
    assert (errors <= 1.01 * found.roundings * 2.0**-24 * exact.max()).all()


@pytest.mark.parametrize("distance", ["cosine", "dot", "l2"])
def test_the_order_of_long_rows_is_that_of_their_scores(distance: Distance) -> None:
    rng = np.random.default_rng(0)
    rows = (1 + 0.02 * rng.standard_normal((800, 700))).astype(np.float32)
    quick = search(rows, rows, 40, distance=distance, scored=False)
    scored = search(rows, rows, 40, distance=distance, allowed=lambda q, g: np.True_)
    np.testing.assert_array_equal(quick.indices, scored.indices)
