from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.neighbors import Distance, _near, backend_of
from milepost.neighbors._near import near_pairs
from milepost.neighbors._ranges import Window
from tests.kinds import CONVERTERS
from tests.neighbors.windows import DISTANCES, assert_found, points, scores_of, windows_of


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", ["spread", "ties", "alike", "duplicates", "huge", "tiny"])
@pytest.mark.parametrize("most", [0.0, 1 / 64, 1.0])
@pytest.mark.parametrize("convert", CONVERTERS)
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
