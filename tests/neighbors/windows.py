"""Pairs in windows of scores, held against the scores of all pairs."""

from typing import Any, get_args

import numpy as np

from milepost.neighbors import Distance, backend_of, pair_scores
from milepost.neighbors._near import near_pairs
from milepost.neighbors._ranges import Window
from milepost.neighbors._score import prepare, score_block

Array = np.ndarray[Any, np.dtype[Any]]
DISTANCES: tuple[Distance, ...] = get_args(Distance)


def points(seed: int, rows: int, kind: str) -> Array:
    rng = np.random.default_rng(seed)
    numbers = rng.standard_normal((rows, 5))
    if kind == "ties":
        numbers = rng.integers(-2, 3, (rows, 5)).astype(float)
    if kind == "alike":
        numbers = 1 + 1e-4 * numbers
    if kind == "duplicates":
        numbers = numbers[rng.integers(0, 3, rows)]
    return (numbers * {"huge": 1e19, "tiny": 1e-19}.get(kind, 1.0)).astype(np.float32)


def assert_found(queries: Any, gallery: Any, windows: Any, distance: Distance) -> None:
    """Check that all pairs in a window are found, each once, with their scores."""
    backend = backend_of(queries)
    q, g = (prepare(rows, distance, backend) for rows in (queries, gallery))
    scores = backend.numpy(score_block(q, g, distance, backend))
    i, j, found = map(backend.numpy, near_pairs(q, g, windows, distance, backend))
    np.testing.assert_array_equal(found, scores[i, j])
    listed = np.zeros(scores.shape, np.int64)
    np.add.at(listed, (i, j), 1)
    assert listed.max(initial=0) <= 1
    for least, most in windows:
        assert listed[(scores >= least) & (scores <= most)].all()


def scores_of(queries: Array, gallery: Array, distance: Distance) -> Array:
    return np.asarray(pair_scores(queries, gallery, distance=distance))


def windows_of(scores: Array) -> list[Window]:
    """A window between two scores, and some that hold one score."""
    found = np.unique(scores[np.isfinite(scores)])
    first, *others = found[:: max(1, len(found) // 6)].tolist()
    second, *others = others or [first]
    return [Window(first, second), *(Window(score, score) for score in others)]
