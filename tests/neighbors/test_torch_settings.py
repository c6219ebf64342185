"""What torch is set to changes no result, and torch does what a trapped OpenBLAS would do."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from milepost.neighbors import CosineSimilarity, Distance, MatchFinder, pair_scores
from milepost.neighbors import _blas as blas
from tests.neighbors.filtered import DISTANCES, Q, Spy, check, normal
from tests.neighbors.windows import assert_found, points, scores_of, windows_of


@contextmanager
def precision(setting: str) -> Iterator[None]:
    """Set how the factors of products are rounded."""
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(setting)
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("distance", DISTANCES)
def test_scores_do_not_depend_on_threads(distance: Distance) -> None:
    queries, threads = torch.from_numpy(normal(11, 300, 33)), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = pair_scores(queries, queries, distance=distance)
        torch.set_num_threads(4)
        four = pair_scores(queries, queries, distance=distance)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, four)
    np.testing.assert_array_equal(
        one.numpy(), pair_scores(queries.numpy(), queries.numpy(), distance=distance)
    )


@pytest.mark.parametrize("distance", DISTANCES)
def test_torch_takes_the_place_of_a_trapped_openblas(
    monkeypatch: pytest.MonkeyPatch, distance: Distance
) -> None:
    monkeypatch.setattr(blas, "_is_trapped", lambda: True)
    spy = Spy(monkeypatch)
    check(normal(0, Q), normal(1, 1500), 5, distance)
    assert spy.settled == 4 * Q


def test_a_setting_that_rounds_the_factors_of_products_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blas, "_is_trapped", lambda: True)
    with precision("medium"):
        check(normal(0, Q), normal(1, 800), 5, "cosine")


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_setting_or_a_trapped_openblas_changes_no_window(
    distance: Distance, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, gallery = points(4, 20, "spread"), points(5, 25, "spread")
    windows = windows_of(scores_of(queries, gallery, distance))
    monkeypatch.setattr(blas, "_is_trapped", lambda: True)
    for setting in ("highest", "medium"):
        with precision(setting):
            assert_found(queries, gallery, windows, distance)
            assert_found(torch.from_numpy(queries), torch.from_numpy(gallery), windows, distance)


def test_matches_do_not_depend_on_the_precision_of_torch() -> None:
    rows = torch.from_numpy(normal(8, 200))
    values = CosineSimilarity().matrix(rows, rows)
    finder = MatchFinder(threshold=float(values.quantile(0.7, interpolation="nearest")))
    expected = finder.get_matching_pairs(rows)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(finder.get_matching_pairs(rows), expected)
    with precision("medium"):
        np.testing.assert_array_equal(finder.get_matching_pairs(rows), expected)
        np.testing.assert_array_equal(finder.get_matching_pairs(rows.numpy()), expected)
