from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.neighbors import Distance, pair_scores, search_outside
from tests.kinds import CONVERTERS
from tests.neighbors.test_search import assert_equal, oracle, with_ties

Array = np.ndarray[Any, np.dtype[Any]]


def check(
    queries: Array, gallery: Array, k: int, groups: tuple[Array, Array], own: Array, **options: Any
) -> None:
    """Compare with what sorting all pairs that are left gives."""
    distance = options["distance"]
    scores = pair_scores(queries, gallery, distance=distance)
    places = np.arange(len(gallery))[None, :]
    allowed = (groups[0][:, None] != groups[1][None, :]) & (places != own[:, None])
    expected = oracle(scores, allowed, min(k, len(gallery)))
    for convert in CONVERTERS:
        arrays = convert(queries), convert(gallery)
        assert_equal(search_outside(*arrays, k, *groups, exclude=own, **options), expected)


@pytest.mark.parametrize("distance", get_args(Distance))
@pytest.mark.parametrize("max_memory_bytes", [20_000, None])
@pytest.mark.parametrize("most", [2, 15, 130])
def test_groups_of_any_size_are_left_out(
    distance: Distance, max_memory_bytes: int | None, most: int
) -> None:
    rng = np.random.default_rng(0)
    queries, gallery = with_ties(0, 80), with_ties(1, 150)
    groups = rng.integers(0, 150 // most + 1, 80), rng.integers(0, 150 // most + 1, 150)
    groups[1][:most] = 0  # one is larger than the others
    own = rng.integers(-1, 150, 80)
    options = {"distance": distance, "max_memory_bytes": max_memory_bytes}
    for k in (1, 7):
        check(queries, gallery, k, groups, own, **options)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    sizes=st.tuples(st.integers(0, 90), st.integers(0, 60), st.integers(1, 9)),
    k=st.integers(1, 70),
    seed=st.integers(0, 99),
)
def test_any_groups_are_left_out(sizes: tuple[int, int, int], k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries, gallery = with_ties(seed, sizes[0], 2), with_ties(seed + 1, sizes[1], 2)
    groups = rng.integers(0, sizes[2], sizes[0]), rng.integers(0, sizes[2] + 1, sizes[1])
    own = rng.integers(-1, sizes[1], sizes[0]) if sizes[1] else np.full(sizes[0], -1)
    check(queries, gallery, k, groups, own, distance="l2")


@pytest.mark.parametrize("count", [2, 300])
def test_only_the_order_may_be_asked_for(count: int) -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((900, 16)).astype(np.float32)
    groups = rng.integers(0, count, 900)
    found = search_outside(rows, rows, 5, groups, groups, exclude=np.arange(900), scored=False)
    expected = oracle(pair_scores(rows, rows), groups[:, None] != groups[None, :], 5)
    np.testing.assert_array_equal(found.indices, expected.indices)
