"""The largest products by a threshold: those of brute force, whatever the sample says."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.neighbors import Neighbors
from milepost.neighbors import _best_products as best

Array = np.ndarray[Any, np.dtype[Any]]


def whole(seed: int, rows: int, dimension: int = 8, most: int = 9) -> Array:
    """Return rows of whole numbers, whose products float32 computes exactly."""
    rng = np.random.default_rng(seed)
    return rng.integers(-most, most + 1, (rows, dimension)).astype(np.float32)


def assert_largest(found: Neighbors, queries: Array, gallery: Array, k: int) -> None:
    products = queries @ gallery.T
    np.testing.assert_array_equal(found.scores, -np.sort(-products, axis=1)[:, :k])
    np.testing.assert_array_equal(np.take_along_axis(products, found.indices, axis=1), found.scores)
    assert all(len(set(row)) == k for row in found.indices.tolist())


def within(rows: Array, k: int) -> Neighbors:
    blocks = list(best.best_products_within(rows, k))
    places = np.concatenate([np.arange(block.start, block.stop) for block, _ in blocks])
    np.testing.assert_array_equal(places, np.arange(len(rows)))
    return Neighbors(*(np.concatenate(each) for each in zip(*(b for _, b in blocks), strict=True)))


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries were listed after all, each time."""
    numbers: list[int] = []
    original = best._listed

    def listed(queries: Array, gallery: Array, k: int) -> Neighbors:
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
