from typing import get_args

import numpy as np
import pytest

from milepost.neighbors import Distance, listed_scores, nearest_listed, pair_scores, search
from tests.kinds import CONVERTERS

DISTANCES: tuple[Distance, ...] = get_args(Distance)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_nearest_of_listed_rows_is_that_of_a_search_among_them(distance: Distance) -> None:
    rng = np.random.default_rng(0)
    queries, gallery = (rng.integers(-2, 3, (n, 3)).astype(np.float32) for n in (30, 50))
    allowed = rng.random((30, 50)) < 0.1
    allowed[4] = False
    expected = search(queries, gallery, 1, distance=distance, allowed=lambda *at: allowed[at])
    rows, positions = np.nonzero(allowed)
    for convert in CONVERTERS:
        found = nearest_listed(
            convert(queries), convert(gallery), rows, positions, distance=distance
        )
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_scores_of_listed_pairs_are_those_of_all_pairs(distance: Distance) -> None:
    rng = np.random.default_rng(1)
    queries, gallery = (rng.standard_normal((n, 7)).astype(np.float32) for n in (20, 30))
    rows, positions = rng.integers(0, 20, 99), rng.integers(0, 30, 99)
    expected = pair_scores(queries, gallery, distance=distance)[rows, positions]
    for convert in CONVERTERS:
        found = listed_scores(
            convert(queries), convert(gallery), rows, positions, distance=distance
        )
        np.testing.assert_array_equal(found, expected)


def test_no_listed_rows_are_no_neighbours() -> None:
    none = np.zeros(0, np.int64)
    assert nearest_listed(np.ones((2, 3)), np.ones((1, 3)), none, none).indices.tolist() == [
        [-1],
        [-1],
    ]
