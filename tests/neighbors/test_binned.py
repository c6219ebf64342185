from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.neighbors import Distance, Grid, _binned, backend_of, longest_row
from milepost.neighbors._binned import binned
from milepost.neighbors._score import prepare, score_block
from tests.kinds import CONVERTERS

Array = np.ndarray[Any, np.dtype[Any]]
DISTANCES: tuple[Distance, ...] = get_args(Distance)


def assert_binned(rows: Any, distance: Distance) -> None:
    """Check that each pair is in the cell of its score."""
    backend = backend_of(rows)
    prepared = prepare(rows, distance, backend)
    cells_of = Grid.over(distance, longest_row(prepared)).lookup(rows, backend)
    expected = cells_of(score_block(prepared, prepared, distance, backend))
    cells = binned(prepared, prepared, cells_of, distance, backend)
    np.testing.assert_array_equal(backend.numpy(cells), backend.numpy(expected))


def near_borders(count: int) -> Array:
    """Rows whose products are on the borders of bins, or a rounding beside them."""
    rng = np.random.default_rng(0)
    borders = rng.integers(-(2**17), 2**17, count) * 2.0**-17
    beside = rng.choice([-(2.0**-24), -(2.0**-42), 0.0, 2.0**-42, 2.0**-24], count)
    rows = np.stack([borders, beside, 0.1 + 0.0 * borders], axis=1)
    return np.concatenate([rows, [[1.0, 1.0, 0.0]]]).astype(np.float32)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("many", [0, 16, 10**9])
@pytest.mark.parametrize("convert", CONVERTERS)
def test_each_pair_is_in_the_cell_of_its_score(
    distance: Distance, many: int, convert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_binned, "_MANY", many)  # one by one, as it comes, or all in a block
    rng = np.random.default_rng(1)
    numbers = rng.standard_normal((60, 7)).astype(np.float32)
    assert_binned(convert(numbers), distance)
    assert_binned(convert(near_borders(80)), distance)
    assert_binned(convert(numbers[rng.integers(0, 4, 30)]), distance)
    assert_binned(convert(1 + np.float32(1e-6) * numbers), distance)
    assert_binned(convert(np.rint(3 * numbers)), distance)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    numbers=st.lists(st.floats(-4, 4, width=32), min_size=4, max_size=24),
    distance=st.sampled_from(DISTANCES),
    scale=st.sampled_from([1e-38, 1e-30, 1e-6, 1.0, 1e9, 1e19, 3e20, 1e21, 1e25]),
)
def test_any_rows_are_in_the_cells_of_their_scores(
    numbers: list[float], distance: Distance, scale: float
) -> None:
    rows = (np.array(numbers[: len(numbers) // 2 * 2]).reshape(-1, 2) * scale).astype(np.float32)
    assert_binned(rows, distance)
