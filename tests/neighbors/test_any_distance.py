"""Search, counts and listed pairs by any distance measure."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.neighbors import (
    CosineSimilarity,
    DistanceMeasure,
    DotProductSimilarity,
    LpDistance,
    SNRDistance,
    count_before,
    listed_scores,
    nearest_listed,
    own_scores,
    pair_scores,
    search,
    search_outside,
)
from tests.kinds import CONVERTERS
from tests.neighbors.test_search import assert_equal, oracle, with_ties

Array = np.ndarray[Any, np.dtype[Any]]

MEASURES: list[DistanceMeasure] = [
    CosineSimilarity(),
    DotProductSimilarity(),
    DotProductSimilarity(normalize_embeddings=True),
    LpDistance(),
    LpDistance(power=2, normalize_embeddings=False),
    LpDistance(p=1),
    LpDistance(p=1, power=2, normalize_embeddings=False),
    LpDistance(p=3),
    LpDistance(p=math.inf, normalize_embeddings=False),
    SNRDistance(),
    SNRDistance(normalize_embeddings=False),
]


def scores_by(measure: DistanceMeasure, queries: Array, gallery: Array) -> Array:
    """What rows rank by: the values, or the squared distances of which they are made."""
    if measure.ranks_as == "l2":
        return squares(measure, queries, gallery)
    values: Array = measure.matrix(queries, gallery)
    return values if measure.is_inverted else -values


def squares(measure: DistanceMeasure, queries: Array, gallery: Array) -> Array:
    def prepared(x: Array) -> Array:
        if measure.normalize_embeddings:
            norms = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
            x = (x / np.where(norms == 0, 1, norms)).astype(np.float32)
        mean = x.astype(np.float64).mean(axis=1, keepdims=True)
        return (x - mean).astype(np.float32) if isinstance(measure, SNRDistance) else x

    scores: Array = pair_scores(prepared(queries), prepared(gallery), distance="l2")
    return scores


@pytest.mark.parametrize("measure", MEASURES, ids=repr)
@pytest.mark.parametrize("max_memory_bytes", [1, 30_000, None])
def test_rows_rank_by_any_measure(measure: DistanceMeasure, max_memory_bytes: int | None) -> None:
    queries, gallery = with_ties(0, 70, 4), with_ties(1, 130, 4)
    if max_memory_bytes == 1:  # single pairs
        queries, gallery = queries[:9], gallery[:20]
    own = np.arange(len(queries)) % (len(gallery) + 1) - 1
    groups = np.arange(len(queries)) % 3, np.arange(len(gallery)) % 5
    scores = scores_by(measure, queries, gallery)
    left = np.arange(len(gallery))[None, :] != own[:, None]
    outside = left & (groups[0][:, None] != groups[1][None, :])
    options: Any = {"distance": measure, "max_memory_bytes": max_memory_bytes}
    for convert in CONVERTERS:
        rows = convert(queries), convert(gallery)
        found = search(*rows, 7, exclude=convert(own), **options)
        assert_equal(found, oracle(scores, left, 7))
        found = search_outside(*rows, 7, *groups, exclude=own, **options)
        assert_equal(found, oracle(scores, outside, 7))
        np.testing.assert_array_equal(np.asarray(pair_scores(*rows, **options)), scores)


@pytest.mark.parametrize("measure", MEASURES, ids=repr)
def test_places_are_counted_and_pairs_are_scored(measure: DistanceMeasure) -> None:
    rows = with_ties(2, 60, 4)
    scores, own = scores_by(measure, rows, rows), np.arange(60)
    places = np.random.default_rng(3).integers(0, 60, 60)
    score = scores[own, places]
    before = (scores > score[:, None]) | (
        (scores == score[:, None]) & (own[None, :] < places[:, None])
    )
    queries, positions = np.repeat(own, 4), np.random.default_rng(4).integers(0, 60, 240)
    allowed = np.zeros((60, 60), bool)
    allowed[queries, positions] = True
    for convert in CONVERTERS:
        x = convert(rows)
        counts = count_before(x, x, convert(score), convert(places), distance=measure)
        np.testing.assert_array_equal(np.asarray(counts), before.sum(axis=1))
        found = listed_scores(x, x, queries, positions, distance=measure)
        np.testing.assert_array_equal(found, scores[queries, positions])
        nearest = nearest_listed(x, x, queries, positions, distance=measure)
        assert_equal(nearest, oracle(scores, allowed, 1))
        values = own_scores(measure, found[:, None], x, queries)[:, 0]
        pairwise = measure.pairwise(rows[queries], rows[positions])
        np.testing.assert_array_equal(values, pairwise if measure.is_inverted else 0 - pairwise)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 80), st.integers(2, 5)),
    measure=st.sampled_from(MEASURES),
    seed=st.integers(0, 99),
    whole=st.booleans(),
)
def test_any_rows_rank_by_any_measure(
    shape: tuple[int, int], measure: DistanceMeasure, seed: int, whole: bool
) -> None:
    rng = np.random.default_rng(seed)
    rows = with_ties(seed, *shape) if whole else rng.standard_normal(shape).astype(np.float32)
    expected = oracle(scores_by(measure, rows, rows), ~np.eye(len(rows), dtype=bool), 9)
    found = search(rows, rows, 9, distance=measure, exclude=np.arange(len(rows)))
    width = found.indices.shape[1]
    assert_equal(found, type(expected)(*(x[:, :width] for x in expected)))
