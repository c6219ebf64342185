from typing import Any, get_args

import numpy as np
import pytest
import torch

from milepost.neighbors import (
    Bins,
    Cells,
    Distance,
    accepted_share,
    area_under_curve,
    best_f1,
    cells_of,
    equal_error,
    even_bits,
    pair_histogram,
    pair_scores,
    refinement,
    tar_at_far,
)

Array = np.ndarray[Any, np.dtype[Any]]
DISTANCES: tuple[Distance, ...] = get_args(Distance)


def labelled(seed: int, rows: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 3)).astype(np.float32), rng.integers(0, 4, rows)


def fine(bins: Array) -> Bins:
    """Cut some bins to single scores, and leave out the others."""
    bits = np.full(1 << 18, -1)
    bits[bins] = 14
    return Bins(bits)


def counts_of(cells: Cells) -> dict[float, tuple[int, int]]:
    columns = (cells.scores, cells.impostors, cells.genuine)
    return {score: (i, g) for score, i, g in zip(*(c.tolist() for c in columns), strict=True)}


def oracle(scores: Array, same: Array, counted: Array) -> dict[float, tuple[int, int]]:
    return {
        float(score): (
            int((counted & ~same & (scores == score)).sum()),
            int((counted & same & (scores == score)).sum()),
        )
        for score in np.unique(scores[counted])
    }


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("max_memory_bytes", [1, 4000, None])
def test_refined_bins_hold_single_scores(distance: Distance, max_memory_bytes: int | None) -> None:
    queries, query_labels = labelled(0, 11)
    gallery, gallery_labels = labelled(1, 16)
    first, exclude = np.arange(11), np.arange(11) + 3
    counted = np.arange(16)[None, :] >= first[:, None]
    counted[np.arange(11), exclude] = False
    same = query_labels[:, None] == gallery_labels[None, :]
    expected = oracle(pair_scores(queries, gallery, distance=distance), same, counted)

    def histogram(bins: Bins, convert: Any = np.asarray) -> Array:
        arrays = convert(queries), convert(gallery), query_labels, gallery_labels
        return pair_histogram(
            *arrays,
            bins,
            distance=distance,
            first=first,
            exclude=exclude,
            max_memory_bytes=max_memory_bytes,
        )

    coarse = cells_of(Bins.coarse(), histogram(Bins.coarse()))
    assert coarse.impostors.sum() == (counted & ~same).sum()
    assert coarse.genuine.sum() == (counted & same).sum()
    half = coarse.bins[::2]
    mixed = coarse.refined(fine(half), histogram(fine(half)))
    assert (mixed.shifts == 0).any()
    assert (mixed.shifts == 14).any()
    assert (np.diff(mixed.lowest) < 0).all()
    exact = mixed.refined(fine(coarse.bins), histogram(fine(coarse.bins)))
    assert counts_of(exact) == expected
    in_torch = histogram(fine(coarse.bins), torch.from_numpy)
    np.testing.assert_array_equal(in_torch, histogram(fine(coarse.bins)))


def test_cells_of_any_width_hold_the_scores_in_their_range() -> None:
    queries, labels = labelled(2, 40)
    scores = pair_scores(queries, queries)
    everything = pair_histogram(queries, queries, labels, labels, Bins.coarse())
    coarse = cells_of(Bins.coarse(), everything)
    bits = np.full(1 << 18, -1)
    bits[coarse.bins] = np.arange(len(coarse.bins)) % 15
    bins = Bins(bits)
    cells = cells_of(bins, pair_histogram(queries, queries, labels, labels, bins))
    assert (cells.impostors + cells.genuine).sum() == scores.size
    keys = scores.view(np.int32)
    keys = keys ^ ((keys >> 31) & 0x7FFFFFFF)
    for lowest, shift, count in zip(
        cells.lowest, cells.shifts, cells.impostors + cells.genuine, strict=True
    ):
        assert ((keys >= lowest) & (keys < lowest + (1 << shift))).sum() == count


def exact_cells(genuine: list[float], impostors: list[float]) -> Cells:
    """The histogram of scores given one by one."""
    scores = np.unique(np.array(genuine + impostors, np.float32))[::-1]
    keys = scores.view(np.int32).astype(np.int64)
    keys = keys ^ ((keys >> 31) & 0x7FFFFFFF)
    kinds = (np.array(kind)[None, :] == scores[:, None] for kind in (impostors, genuine))
    counts = [kind.sum(axis=1) for kind in kinds]
    return Cells(keys, np.zeros_like(keys), counts[0], counts[1])


# Genuine 4 3 3 1, impostors 3 2 1 0 0.
CELLS = exact_cells([4, 3, 3, 1], [3, 2, 1, 0, 0])


@pytest.mark.parametrize(
    ("far", "tar", "threshold"),
    [
        (0.1, 1 / 4, 4.0),  # below 1 / 5: no impostor may match
        (0.2, 3 / 4, 3.0),
        (0.59, 3 / 4, 2.0),  # the least threshold with that FAR is 2
        (0.6, 1.0, 1.0),
        (1.0, 1.0, 0.0),
    ],
)
def test_tar_at_far_is_that_of_the_least_threshold_that_far_allows(
    far: float, tar: float, threshold: float
) -> None:
    point = tar_at_far(CELLS, far)
    assert (point.value, point.score, list(point.wanted)) == (tar, threshold, [])


def test_nothing_matches_where_the_best_score_is_an_impostors() -> None:
    point = tar_at_far(exact_cells([1, 2], [3, 0]), 0.3)
    assert point.value == 0.0
    assert np.isnan(point.score)


def test_the_equal_error_lies_on_the_line_between_two_thresholds() -> None:
    # Threshold 3: FAR 1/5, FRR 1/4; threshold 2: FAR 2/5, FRR 1/4. They meet at FAR 1/4.
    point = equal_error(CELLS)
    assert point.value == pytest.approx(1 / 4)
    assert point.score == 3.0
    assert equal_error(exact_cells([1, 2], [0, -1])).value == 0.0
    assert equal_error(exact_cells([0, -1], [1, 2])).value == 1.0


def test_the_best_f1_has_the_highest_threshold_that_gives_it() -> None:
    point = best_f1(CELLS)
    assert point.value == 2 * 3 / (3 + 1 + 4)
    assert point.score == 3.0
    tied = best_f1(exact_cells([3, 1], [2, 2, 2, 2]))  # 2/3 at threshold 3, 4/8 at 1
    assert (tied.value, tied.score) == (2 / 3, 3.0)
    assert best_f1(exact_cells([1, 1], [2, 1])).value == 2 * 2 / (2 + 2 + 2)


def test_the_area_is_the_chance_of_the_right_order() -> None:
    wins = sum((g > i) + (g == i) / 2 for g in (4, 3, 3, 1) for i in (3, 2, 1, 0, 0))
    assert area_under_curve(CELLS).value == pytest.approx(wins / 20, abs=1e-15)


@pytest.mark.parametrize(
    ("threshold", "share"), [(5.0, 0), (4.0, 1 / 4), (2.5, 3 / 4), (1.0, 1.0), (-7.0, 1.0)]
)
def test_a_share_is_of_the_scores_that_reach_the_threshold(threshold: float, share: float) -> None:
    point = accepted_share(CELLS, CELLS.genuine, np.float32(threshold))
    assert (point.value, list(point.wanted)) == (share, [])


def test_what_needs_pairs_that_there_are_not_is_nan() -> None:
    for cells in (exact_cells([1.0], []), exact_cells([], [1.0]), exact_cells([], [])):
        assert np.isnan(area_under_curve(cells).value)
        assert np.isnan(equal_error(cells).value)
        assert np.isnan(tar_at_far(cells, 0.1).value)
    assert np.isnan(best_f1(exact_cells([], [1.0])).value)
    assert np.isnan(accepted_share(CELLS, 0 * CELLS.genuine, np.float32(1.0)).value)
    assert best_f1(exact_cells([1.0, 2.0], [])).value == 1.0


def test_a_point_wants_the_cells_that_it_rests_on() -> None:
    wide = Cells(CELLS.lowest >> 14 << 14, np.full(5, 14), CELLS.impostors, CELLS.genuine)
    assert list(tar_at_far(wide, 0.2).wanted) == [1, 2]
    assert list(equal_error(wide).wanted) == [1, 2]
    inside = np.float32(3.001)
    assert list(accepted_share(wide, wide.genuine, inside).wanted) == [1]
    bins = refinement(None, wide, [tar_at_far(wide, 0.2), equal_error(wide)], most=1)
    assert np.flatnonzero(bins.bits == 14).tolist() == [wide.bins[1]]
    assert bins.cells == 1 << 14


def test_even_cells_are_cut_where_kinds_mix() -> None:
    wide = Cells(CELLS.lowest >> 14 << 14, np.full(5, 14), CELLS.impostors, CELLS.genuine)
    bits = even_bits(wide, 64)
    mixed = (wide.genuine > 0) & (wide.impostors > 0)
    assert set(np.flatnonzero(bits)) == set(wide.bins[mixed])
    assert (1 << bits[wide.bins[mixed]]).sum() <= 128
    assert not even_bits(exact_cells([1.0], [0.0]), 64).any()
