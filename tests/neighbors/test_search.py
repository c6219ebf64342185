from typing import Any, get_args

import numpy as np
import pytest

from milepost.neighbors import Distance, Neighbors, count_before, pair_scores, search
from tests.kinds import CONVERTERS

Array = np.ndarray[Any, np.dtype[Any]]
DISTANCES: tuple[Distance, ...] = get_args(Distance)


def with_ties(seed: int, rows: int, dimension: int = 3) -> Array:
    """Small whole numbers: most scores are shared by many pairs."""
    return np.random.default_rng(seed).integers(-2, 3, (rows, dimension)).astype(np.float32)


def oracle(scores: Array, allowed: Array, k: int) -> Neighbors:
    """Sort each row by score, then by position."""
    indices = np.full((len(scores), k), -1)
    values = np.full((len(scores), k), -np.inf, np.float32)
    for row, (own, may) in enumerate(zip(scores, allowed, strict=True)):
        order = sorted(np.flatnonzero(may), key=lambda at: (-own[at], at))[:k]
        indices[row, : len(order)] = order
        values[row, : len(order)] = own[order]
    return Neighbors(indices, values)


def assert_equal(found: Neighbors, expected: Neighbors) -> None:
    np.testing.assert_array_equal(np.asarray(found.indices), expected.indices)
    np.testing.assert_array_equal(np.asarray(found.scores), expected.scores)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("max_memory_bytes", [1, 3000, 20000, None])
@pytest.mark.parametrize("k", [1, 4, 30])
def test_neighbours_rank_by_score_then_by_position(
    distance: Distance, max_memory_bytes: int | None, k: int
) -> None:
    queries, gallery = with_ties(0, 23), with_ties(1, 30)
    scores = pair_scores(queries, gallery, distance=distance)
    expected = oracle(scores, np.ones_like(scores, bool), k)
    for convert in CONVERTERS:
        arrays = convert(queries), convert(gallery)
        found = search(*arrays, k, distance=distance, max_memory_bytes=max_memory_bytes)
        assert type(found.indices) is type(arrays[0])
        assert_equal(found, expected)


@pytest.mark.parametrize("max_memory_bytes", [1, None])
def test_a_query_leaves_out_the_position_it_excludes(max_memory_bytes: int | None) -> None:
    rows = with_ties(2, 25)
    exclude = np.where(np.arange(25) % 3 > 0, np.arange(25), -1)
    scores = pair_scores(rows, rows)
    expected = oracle(scores, np.arange(25)[None, :] != exclude[:, None], 25)
    assert (expected.indices[exclude >= 0, -1] == -1).all()
    for convert in CONVERTERS:
        own, without = convert(rows), convert(exclude)
        found = search(own, own, 25, exclude=without, max_memory_bytes=max_memory_bytes)
        assert_equal(found, expected)


def test_only_allowed_pairs_are_found() -> None:
    queries, gallery = with_ties(3, 9), with_ties(4, 40)
    allowed = np.random.default_rng(5).random((9, 40)) < 0.1
    expected = oracle(pair_scores(queries, gallery), allowed, 6)
    for max_memory_bytes in (1, 5000, None):
        found = search(
            queries, gallery, 6, allowed=lambda *at: allowed[at], max_memory_bytes=max_memory_bytes
        )
        assert_equal(found, expected)


def test_k_is_clipped_to_the_gallery() -> None:
    rows = with_ties(6, 4)
    assert search(rows, rows, 100).indices.shape == (4, 4)
    assert search(rows, rows, 100, exclude=np.arange(4)).indices.shape == (4, 3)
    assert search(rows, rows[:0], 3).indices.shape == (4, 0)
    assert search(rows[:0], rows, 3).indices.shape == (0, 3)
    assert search(rows[:1], rows[:1], 3, exclude=np.zeros(1)).scores.shape == (1, 0)


def test_k_below_1_is_an_error() -> None:
    rows = with_ties(7, 2)
    with pytest.raises(ValueError, match=r"^`k` must be at least 1, got 0$"):
        search(rows, rows, 0)


def test_a_score_of_minus_infinity_is_found_all_the_same() -> None:
    rows = np.array([[3e38], [-3e38]])
    found = search(rows[:1], rows, 2, distance="l2")
    assert found.indices.tolist() == [[0, 1]]
    assert found.scores.tolist() == [[0.0, -np.inf]]


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("max_memory_bytes", [1, 4000, None])
def test_the_rows_before_a_place_are_counted(
    distance: Distance, max_memory_bytes: int | None
) -> None:
    rows = with_ties(8, 26)
    own, places = np.arange(26), np.random.default_rng(9).integers(0, 27, 26)
    scores = pair_scores(rows, rows, distance=distance)
    score = scores[own, places.clip(max=25)]
    others = own[None, :] != own[:, None]
    before = (scores > score[:, None]) | (
        (scores == score[:, None]) & (own[None, :] < places[:, None])
    )
    expected = (before & others).sum(axis=1)
    for convert in CONVERTERS:
        counts = count_before(
            *(convert(array) for array in (rows, rows, score, places)),
            distance=distance,
            exclude=own,
            max_memory_bytes=max_memory_bytes,
        )
        np.testing.assert_array_equal(np.asarray(counts), expected)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", ["normal", "pairs", "collapsed", "equal", "zeros", "huge"])
def test_rows_before_a_place_are_counted_exactly(distance: Distance, kind: str) -> None:
    rows = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    if kind == "pairs":
        rows[1::2] = rows[::2]
    elif kind == "collapsed":
        rows = 1 + np.float32(1e-6) * rows
    elif kind == "equal":
        rows[:] = rows[0]
    elif kind == "zeros":
        rows[::2] = 0.0
    elif kind == "huge":
        rows *= np.float32(1e18)
    scores = pair_scores(rows, rows, distance=distance)
    places = np.random.default_rng(1).integers(0, 300, 300)
    score, columns = scores[np.arange(300), places][:, None], np.arange(300)[None, :]
    before = (scores > score) | ((scores == score) & (columns < places[:, None]))
    np.testing.assert_array_equal(
        count_before(rows, rows, score[:, 0], places, distance=distance), before.sum(axis=1)
    )


def test_searching_leaves_its_arguments_as_they_were() -> None:
    rows = with_ties(10, 12)
    rows.setflags(write=False)
    exclude = np.arange(12)
    exclude.setflags(write=False)
    search(rows, rows, 3, distance="l2", exclude=exclude)
    np.testing.assert_array_equal(rows, with_ties(10, 12))
