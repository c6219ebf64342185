"""Galleries of repeated rows are searched as any other."""

import numpy as np
import pytest

from milepost.neighbors import Distance, backend_of, pair_scores, search
from milepost.neighbors._repeated import repeated


def brute_force(
    queries: np.ndarray, gallery: np.ndarray, k: int, distance: Distance, exclude: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    scores = pair_scores(queries, gallery, distance=distance).astype(np.float64)
    rows = np.flatnonzero(exclude >= 0)
    scores[rows, exclude[rows]] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


@pytest.mark.parametrize("distance", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("different", [1, 3, 20, 45])
@pytest.mark.parametrize("k", [1, 4, 60, 99])
def test_the_nearest_are_those_of_all_pairs(distance: Distance, different: int, k: int) -> None:
    rng = np.random.default_rng(different)
    rows = rng.integers(-2, 3, (different, 3)).astype(np.float32)  # zeros and multiples among them
    gallery = rows[rng.integers(0, different, 100)]
    exclude = np.where(rng.random(100) < 0.7, np.arange(100), -1)
    found = search(gallery, gallery, k, distance=distance, exclude=exclude)
    indices, scores = brute_force(gallery, gallery, k, distance, exclude)
    assert found.indices.tolist() == indices.tolist()
    assert found.scores.tolist() == scores.tolist()


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_of_equal_rows_the_first_positions_are_nearest(value: float) -> None:
    gallery = np.full((3000, 16), value, np.float32)
    found = search(gallery, gallery, 5, exclude=np.arange(3000))
    assert found.indices[0].tolist() == [1, 2, 3, 4, 5]
    assert found.indices[3].tolist() == [0, 1, 2, 4, 5]
    assert (found.indices[5:] == np.arange(5)).all()
    assert np.unique(found.scores).tolist() == [pair_scores(gallery[:1], gallery[:1]).item()]


@pytest.mark.parametrize(
    ("gallery", "budget", "expected"),
    [
        (np.ones((100, 8), np.float32), 1 << 20, 1),
        (np.ones((100, 8), np.float32), 1 << 10, None),  # no room to tell
        (np.arange(800, dtype=np.float32).reshape(100, 8), 1 << 20, None),
    ],
)
def test_a_gallery_is_compared_by_its_different_rows_if_they_are_few(
    gallery: np.ndarray, budget: int, expected: int | None
) -> None:
    few = repeated(gallery, 3, "dot", budget, backend_of(gallery))
    assert (few and len(few.rows)) == expected
