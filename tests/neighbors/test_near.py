from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.neighbors import Distance, _near, backend_of, pair_scores
from milepost.neighbors import _blas as blas
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


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", ["spread", "ties", "alike", "duplicates", "huge", "tiny"])
@pytest.mark.parametrize("most", [0.0, 1 / 64, 1.0])
@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_all_pairs_in_the_windows_are_found_with_their_scores(
    distance: Distance, kind: str, most: float, convert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_near, "_MOST", most)  # nothing, few or everything is scored one by one
    queries, gallery = points(0, 30, kind), points(1, 40, kind)
    windows = windows_of(scores_of(queries, gallery, distance))
    assert_found(convert(queries), convert(gallery), windows, distance)


def test_few_pairs_are_scored_where_windows_are_narrow() -> None:
    queries, gallery = points(2, 200, "spread"), points(3, 200, "spread")
    backend = backend_of(queries)
    windows = [Window(0.25, 0.25), Window(2.0, 2.0)]
    assert 0 < len(near_pairs(queries, gallery, windows, "dot", backend).scores) < 20


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_setting_or_a_trapped_openblas_changes_nothing(
    distance: Distance, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, gallery = points(4, 20, "spread"), points(5, 25, "spread")
    windows = windows_of(scores_of(queries, gallery, distance))
    precision = torch.get_float32_matmul_precision()
    monkeypatch.setattr(blas, "_is_trapped", lambda: True)
    for setting in ("highest", "medium"):
        try:
            torch.set_float32_matmul_precision(setting)
            assert_found(queries, gallery, windows, distance)
            assert_found(torch.from_numpy(queries), torch.from_numpy(gallery), windows, distance)
        finally:
            torch.set_float32_matmul_precision(precision)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    numbers=st.lists(st.floats(-4, 4, width=32), min_size=6, max_size=24),
    distance=st.sampled_from(DISTANCES),
    scale=st.sampled_from([1e-30, 1e-6, 1.0, 1e9, 1e25]),
)
def test_no_pair_of_any_rows_is_missed(
    numbers: list[float], distance: Distance, scale: float
) -> None:
    rows = (np.array(numbers[: len(numbers) // 2 * 2]).reshape(-1, 2) * scale).astype(np.float32)
    windows = windows_of(np.append(scores_of(rows, rows, distance), np.float32(1)))
    assert_found(rows, rows, windows, distance)
