"""Tables of evidence that hold one row a query or sample, and what they say of the metrics.

B is the number of resamples, R the number of rows, M the number of columns.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, npt.NDArray[Any]]
Over: TypeAlias = Literal["query", "class", "group"]
"""What is drawn in a resample: single rows, all of one `label`, or all of one `group`."""

UNITS = ("queries", "samples")
"""The tables that have one row a query or sample."""

NO_METRICS = ("id", "label", "group")
"""Columns of evidence that tell what a row is, and never hold a metric."""


def unit_table(tables: Mapping[str, Columns]) -> Columns:
    """Return the table that has one row a query or sample; an empty one if there is none."""
    return next((tables[name] for name in UNITS if name in tables), {})


def weighted_means(table: Columns, weights: Floats) -> dict[str, Floats]:
    """Return the mean of each column of numbers, for each row of weights; NaN is not counted.

    Args:
        table: columns of shape (R,); those of other shapes or types, and `id`, `label` and
            `group`, are left out.
        weights: shape (B, R), 0 or more.

    Example:
        >>> table = {"id": np.arange(3), "mrr": np.array([1.0, 0.5, np.nan])}
        >>> weighted_means(table, np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 0.0]]))["mrr"].round(3)
        array([0.75 , 0.833])
    """
    names, values, counted = _metrics(table)
    with np.errstate(invalid="ignore"):  # 0 / 0: no row counts
        means = weights @ values.T / (weights @ counted.T)
    return dict(zip(names, means.T, strict=True))


def is_mean(column: npt.NDArray[Any], value: float) -> bool:
    """Return whether a metric is the mean of a column; NaN is not counted."""
    if column.ndim != 1 or column.dtype.kind not in "biuf":
        return False
    counted = column[~np.isnan(column)]
    mean = float(counted.mean(dtype=np.float64)) if counted.size else math.nan
    return is_same(mean, value)


def zeros_and_ones(column: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    """Return the values of a column that has no others but NaN, which is left out; else nothing."""
    if column is None or column.ndim != 1 or column.dtype.kind not in "biuf":
        return np.zeros(0)
    counted: npt.NDArray[Any] = column[~np.isnan(column)]
    return counted if ((counted == 0) | (counted == 1)).all() else counted[:0]


def is_same(one: float, other: float) -> bool:
    """Return whether two computations of a metric agree, to their rounding."""
    return bool(np.isclose(one, other, rtol=1e-6, atol=1e-9, equal_nan=True))


def weighted_class_means(table: Columns, weights: Floats, over: Over) -> dict[str, Floats]:
    """Return the mean over labels of the means over their rows, as `weighted_means` does for rows.

    A label counts once where any of its rows does; where whole classes are drawn, as often as it
    was drawn.
    """
    names, values, counted = _metrics(table)
    labels = np.unique(table["label"], axis=0, return_inverse=True)[1].reshape(-1)
    order = np.argsort(labels, kind="stable")
    weights, values, counted = weights[:, order], values.T[order], counted.T[order]
    totals, classes = np.zeros((2, len(weights), len(names)))
    ends = np.cumsum(np.bincount(labels))
    for first, end in zip([0, *ends[:-1]], ends, strict=True):
        own = weights[:, first:end]
        seen = own @ counted[first:end]
        times = (own[:, :1] if over == "class" else 1.0) * (seen > 0)
        totals += times * (own @ values[first:end]) / np.where(seen > 0, seen, 1.0)
        classes += times
    with np.errstate(invalid="ignore"):
        means = totals / classes
    return dict(zip(names, means.T, strict=True))


def _metrics(table: Columns) -> tuple[list[str], Floats, Floats]:
    """Return the names of a table's columns of numbers, their values, and where there are values.

    Values are (M, R), with 0 for NaN; the last is 1 or 0, of shape (M, R) or, where all columns
    agree, (1, R).
    """
    columns = {
        name: column
        for name, column in table.items()
        if name not in NO_METRICS and column.ndim == 1 and column.dtype.kind in "biuf"
    }
    rows = len(next(iter(table.values()), ()))
    values = np.array(list(columns.values()), np.float64).reshape(len(columns), rows)
    absent = np.isnan(values)
    values[absent] = 0.0
    alike = len(columns) > 1 and bool((absent == absent[0]).all())
    return list(columns), values, (~absent[:1] if alike else ~absent).astype(np.float64)
