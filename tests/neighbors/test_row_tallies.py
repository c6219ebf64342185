from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.neighbors import Distance, Grid, Limits, longest_row, pair_scores, row_tallies
from tests.kinds import CONVERTERS

Array = np.ndarray[Any, np.dtype[Any]]
DISTANCES: tuple[Distance, ...] = get_args(Distance)


def check(
    queries: Array, gallery: Array, edges: Array, distance: Distance, budget: int | None, seed: int
) -> None:
    """Compare with sums over the pairs, taken one by one."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, len(queries)), rng.integers(0, 3, len(gallery))
    first = rng.integers(0, 3, len(queries))
    exclude = rng.integers(-1, len(gallery), len(queries))
    worth = rng.integers(-9, 10, (2, len(edges) + 1, 3))
    scores = pair_scores(queries, gallery, distance=distance)
    expected = np.zeros((len(queries), 2, 3), np.int64)
    for i, j in np.ndindex(scores.shape):
        if j >= first[i] and j != exclude[i]:
            kind = int(labels[0][i] == labels[1][j])
            expected[i, kind] += worth[kind, (edges <= scores[i, j]).sum()]
    for convert in CONVERTERS:
        found = row_tallies(
            convert(queries),
            convert(gallery),
            labels,
            edges,
            worth,
            grid=Grid.over(distance, max(longest_row(queries), longest_row(gallery))),
            distance=distance,
            limits=Limits(first, exclude, budget),
        )
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("budget", [1, 4000, None])
def test_each_query_counts_its_pairs_between_edges(distance: Distance, budget: int | None) -> None:
    rng = np.random.default_rng(0)
    queries, gallery = (rng.standard_normal((n, 3)).astype(np.float32) for n in (11, 17))
    scores = np.unique(pair_scores(queries, gallery, distance=distance))
    for edges in (scores[:0], scores[[3]], scores[::9], scores):
        check(queries, gallery, edges, distance, budget, 1)


@pytest.mark.parametrize("spread", [1e-4, 1e-2])
def test_edges_within_a_cell_tell_its_pairs_apart(spread: float) -> None:
    rng = np.random.default_rng(2)
    queries, gallery = (
        (np.ones((n, 4)) + spread * rng.standard_normal((n, 4))).astype(np.float32)
        for n in (20, 30)
    )
    scores = np.unique(pair_scores(queries, gallery))
    check(queries, gallery, scores[len(scores) // 2 :][:1], "cosine", None, 3)
    check(queries, gallery, scores[::5], "cosine", None, 3)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    values=st.lists(st.integers(-3, 3), min_size=3, max_size=9),
    edges=st.sets(st.integers(-9, 9), max_size=4),
    distance=st.sampled_from(DISTANCES),
    seed=st.integers(0, 9),
)
def test_scores_that_equal_an_edge_lie_above_it(
    values: list[int], edges: set[int], distance: Distance, seed: int
) -> None:
    rows = np.array(values, np.float32)[:, None]
    check(rows, rows[::-1].copy(), np.array(sorted(edges), np.float32), distance, None, seed)
