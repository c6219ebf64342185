import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from milepost.inferencers import Rows, ScalarStats


def rows_of(**columns: Any) -> Rows:
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    return {"id": np.arange(len(next(iter(arrays.values())))), **arrays}


def mean_of(*batches: Any, weighted: bool = True) -> float:
    stats = ScalarStats("x", weighted=weighted)
    for values in batches:
        stats.update(rows_of(x=values))
    metrics = stats.compute()
    assert metrics is not None
    return metrics["x"]


def test_a_short_last_batch_counts_by_its_samples() -> None:
    assert mean_of([0, 0, 0, 0], [0, 0, 0, 0], [1, 1]) == 0.2


def test_unweighted_means_count_each_batch_once() -> None:
    assert mean_of([0, 0, 0, 0], [0, 0, 0, 0], [1, 1], [], weighted=False) == 1 / 3


def test_unweighted_totals_of_workers_add_up() -> None:
    one, two = ScalarStats("x", weighted=False), ScalarStats("x", weighted=False)
    one.update(rows_of(x=[1.0, 3.0]))
    two.update(rows_of(x=[5.0]))
    one.merge([two.state()])
    assert one.compute() == {"x": 3.5}


@given(st.lists(st.floats(-1e200, 1e200, allow_subnormal=False)).filter(bool), st.data())
def test_the_mean_is_exact_whatever_the_order(values: list[float], data: st.DataObject) -> None:
    values = [value if abs(value) > 1e-250 else 0.0 for value in values]
    shuffled = data.draw(st.permutations(values))
    cut = data.draw(st.integers(0, len(values)))
    exact = math.fsum(values) / len(values)
    assert mean_of(shuffled[:cut], shuffled[cut:]) == exact


def test_a_sum_beyond_the_largest_float_has_a_mean() -> None:
    assert mean_of([1.5e308, 1.5e308], [1.5e308]) == 1.5e308


@pytest.mark.parametrize("batch", [[math.nan, 1.0], [math.inf, -math.inf]])
def test_a_nan_is_not_hidden(batch: list[float]) -> None:
    assert math.isnan(mean_of([1.0], batch, [2.0]))


def test_an_infinite_value_makes_the_mean_infinite() -> None:
    assert mean_of([1.0, -math.inf], [1.0]) == -math.inf


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.uint64, np.bool_])
def test_every_real_dtype_is_summed_in_float64(dtype: type) -> None:
    ones: NDArray[Any] = np.ones(70_001, dtype)
    assert mean_of(ones) == 1.0


def test_a_metric_is_named_as_it_is_fetched() -> None:
    stats = ScalarStats("batch.loss", "model.loss", "loss")
    stats.update(rows_of(**{"batch.loss": [1.0], "model.loss": [2.0], "loss": [3.0]}))
    assert stats.compute() == {"batch.loss": 1.0, "model.loss": 2.0, "loss": 3.0}


def test_names_may_be_listed() -> None:
    assert ScalarStats(["loss", "acc"]).fetches == ScalarStats("loss", "acc").fetches


@pytest.mark.parametrize("names", [(), ("loss", "acc", "loss"), ("",), (3,)])
def test_names_are_different(names: Any) -> None:
    message = f"`names` must be a field or several different ones, got {names}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ScalarStats(names)


def test_an_array_of_several_numbers_a_row_is_an_error() -> None:
    message = "`x` must hold one number a row, shape (4,) or (4, 1), got shape (4, 2)"
    with pytest.raises(ValueError, match=re.escape(message)):
        ScalarStats("x").update(rows_of(x=np.ones((4, 2))))


@pytest.mark.parametrize(("values", "dtype"), [(["a"], "<U1"), ([1j], "complex128")])
def test_what_is_no_real_number_is_an_error(values: list[Any], dtype: str) -> None:
    message = f"`x` must hold real numbers, got dtype {dtype}"
    with pytest.raises(TypeError, match=re.escape(message)):
        ScalarStats("x").update(rows_of(x=values))


def test_a_batch_that_is_refused_adds_nothing() -> None:
    stats = ScalarStats("x", "y")
    with pytest.raises(TypeError):
        stats.update(rows_of(x=[1.0], y=["a"]))
    assert stats.compute() is None
