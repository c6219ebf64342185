from typing import Any, get_args

import numpy as np
import pytest

from milepost.neighbors import (
    Cells,
    Distance,
    Grid,
    Ranges,
    accepted_share,
    area_error,
    area_under_curve,
    best_f1,
    cells_of,
    equal_error,
    longest_row,
    pair_histogram,
    pair_scores,
    refinement,
    tar_at_far,
)
from tests.kinds import CONVERTERS

Array = np.ndarray[Any, np.dtype[Any]]
DISTANCES: tuple[Distance, ...] = get_args(Distance)


def labelled(seed: int, rows: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 3)).astype(np.float32), rng.integers(0, 4, rows)


def every(cells: Cells, step: int = 1) -> Ranges:
    """Cut cells to single scores, all or every so many."""
    return Ranges.of(cells, np.arange(0, len(cells.lowest), step))


def keys(scores: Array) -> Array:
    bits = scores.view(np.int32).astype(np.int64)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


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
def test_refined_cells_hold_single_scores(distance: Distance, max_memory_bytes: int | None) -> None:
    queries, query_labels = labelled(0, 11)
    gallery, gallery_labels = labelled(1, 16)
    first, exclude = np.arange(11), np.arange(11) + 3
    counted = np.arange(16)[None, :] >= first[:, None]
    counted[np.arange(11), exclude] = False
    same = query_labels[:, None] == gallery_labels[None, :]
    expected = oracle(pair_scores(queries, gallery, distance=distance), same, counted)

    def histogram(layout: Grid | Ranges, convert: Any = np.asarray) -> Array:
        return pair_histogram(
            convert(queries),
            convert(gallery),
            query_labels,
            gallery_labels,
            layout,
            distance=distance,
            first=first,
            exclude=exclude,
            max_memory_bytes=max_memory_bytes,
        )

    longest = max(longest_row(rows) for rows in (queries, gallery))
    for layout in (Ranges.everything(), Grid.over(distance, longest)):
        coarse = cells_of(layout, histogram(layout))
        assert coarse.impostors.sum() == (counted & ~same).sum()
        assert coarse.genuine.sum() == (counted & same).sum()
        half = every(coarse, 2)
        mixed = coarse.refined(half, histogram(half))
        assert (mixed.widths == 1).any()
        assert (mixed.widths > 1).any()
        assert (np.diff(mixed.lowest) < 0).all()
        while (mixed.widths > 1).any():
            mixed = mixed.refined(every(mixed), histogram(every(mixed)))
        assert counts_of(mixed) == expected
        for cut in (layout, half):
            for convert in CONVERTERS:
                np.testing.assert_array_equal(histogram(cut, convert), histogram(cut))


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("points", ["spread", "alike", "on a grid", "short and long", "huge"])
def test_cells_hold_the_scores_in_their_range(distance: Distance, points: str) -> None:
    rng = np.random.default_rng(2)
    queries, labels = labelled(2, 60)
    if points == "alike":
        queries = 1 + queries * np.float32(1e-3)
    if points == "on a grid":
        queries = np.rint(queries)
    if points == "huge":  # beyond float32 for dot and l2
        queries *= np.float32(1e20)
    if points == "short and long":
        queries *= np.exp(6 * rng.standard_normal((60, 1))).astype(np.float32)
    found = np.sort(keys(pair_scores(queries, queries, distance=distance).ravel()))
    coarse = Grid.over(distance, longest_row(queries))
    counts = pair_histogram(queries, queries, labels, labels, coarse, distance=distance)
    even = coarse.even(counts, 1 << 12)
    for layout in (coarse, even, Ranges.everything()):
        counts = pair_histogram(queries, queries, labels, labels, layout, distance=distance)
        cells = cells_of(layout, counts)
        inside = np.searchsorted(found, [cells.lowest, cells.lowest + cells.widths])
        np.testing.assert_array_equal(inside[1] - inside[0], cells.impostors + cells.genuine)
        if layout is not even:
            assert (cells.impostors + cells.genuine).sum() == found.size


def exact_cells(genuine: list[float], impostors: list[float]) -> Cells:
    """The histogram of scores given one by one."""
    scores = np.unique(np.array(genuine + impostors, np.float32))[::-1]
    kinds = (np.array(kind)[None, :] == scores[:, None] for kind in (impostors, genuine))
    counts = [kind.sum(axis=1) for kind in kinds]
    return Cells(keys(scores), np.ones(len(scores), np.int64), counts[0], counts[1])


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


def wide(cells: Cells) -> Cells:
    """Cells that may hold other scores besides."""
    return Cells(cells.lowest >> 14 << 14, np.full(5, 1 << 14), cells.impostors, cells.genuine)


def test_a_point_wants_the_cells_that_it_rests_on() -> None:
    cells = wide(CELLS)
    assert list(tar_at_far(cells, 0.2).wanted) == [1, 2]
    assert list(equal_error(cells).wanted) == [1, 2]
    inside = np.float32(3.001)
    assert list(accepted_share(cells, cells.genuine, inside).wanted) == [1]
    ranges = refinement(cells, [tar_at_far(cells, 0.2), equal_error(cells)], most=1)
    assert ranges.lowest.tolist() == [cells.lowest[1]]
    assert ranges.cells == 1 << 14


def test_the_score_0_is_cut_from_its_cell() -> None:
    cells = Cells(*(np.array([number]) for number in (-(1 << 30), 1 << 31, 3, 4)))
    ranges = refinement(cells, [accepted_share(cells, cells.genuine, np.float32(0.5))], most=1)
    assert ranges.lowest.tolist() == [-(1 << 30), 0, 1]
    assert ranges.stops.tolist() == [0, 1, 1 << 30]
    assert ranges.cells <= 1 << 20


def test_the_windows_hold_all_ranges_and_the_widest_gaps_part_them() -> None:
    lowest = keys(np.array([1.0, 1.5, 1.75, 4.0], np.float32))
    ranges = Ranges(lowest, lowest + 1, np.zeros(4, np.int64))
    assert ranges.windows(2) == [(1.0, 1.75), (4.0, 4.0)]
    assert ranges.windows(9) == [(1.0, 1.0), (1.5, 1.5), (1.75, 1.75), (4.0, 4.0)]


def test_even_cells_are_cut_where_kinds_mix() -> None:
    grid = Grid.over("cosine")
    counts = np.zeros((2, grid.cells), np.int64)
    counts[:, [5, 9, 70]] = [[4, 900, 3], [4, 0, 9]]
    even = grid.even(counts, 64)
    assert set(np.flatnonzero(even.bits > 0)) == {5, 70}
    assert 64 <= even.cells <= 128
    counts[0] = 0
    assert not grid.even(counts, 64).cells


def test_the_area_is_off_by_at_most_the_ties_that_are_none() -> None:
    assert area_error(CELLS) == (0.0, 0.0)
    bound, _ = area_error(wide(CELLS))
    assert bound == (2 * 1 + 1 * 1) / 2 / 20  # at 3: two genuine, one impostor; at 1 one of each
    rng = np.random.default_rng(0)
    genuine, impostors = rng.uniform(0, 1, 300), rng.uniform(0, 1, 5000)
    exact = (genuine[:, None] > impostors[None, :]).mean()
    spread = area_error(Cells(*(np.array([n]) for n in (0, 2, 5000, 300)))).spread
    assert 0 < abs(exact - 0.5) < spread < 0.06
