"""Fetched arrays that hold one number a row, checked; N is the number of rows of a batch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from milepost import errors
from milepost.inferencers._inferencer import Rows

_NAMED = 5  # how many ids a message names


def column(rows: Rows, name: str) -> NDArray[Any]:
    """Return a fetched array of one real number a row, of shape (N,).

    Args:
        rows: one batch.
        name: an array of shape (N,) or (N, 1), of any real dtype.

    Raises:
        ValueError: the shape is another.
        TypeError: the values are not real numbers.

    Example:
        >>> column({"id": np.array([0, 1]), "loss": np.array([[0.5], [1.5]])}, "loss")
        array([0.5, 1.5])
    """
    array = np.asarray(rows[name])
    count = len(rows["id"])
    if array.dtype.kind not in "biuf":
        msg = f"`{name}` must hold real numbers, got dtype {array.dtype}"
        raise TypeError(msg)
    if array.shape not in ((count,), (count, 1)):
        msg = (
            f"`{name}` must hold one number a row, shape ({count},) or ({count}, 1), "
            f"got shape {array.shape}"
        )
        raise ValueError(msg)
    return array.reshape(count)


def flags(rows: Rows, name: str) -> NDArray[np.bool_]:
    """Return a fetched array of a 0 or 1 a row as booleans of shape (N,).

    Raises:
        ValueError: a value is neither 0 nor 1; its row's id is named.
    """
    values = column(rows, name)
    ones: NDArray[np.bool_] = values == 1
    reject(rows, name, values, ~(ones | (values == 0)), "must hold 0 or 1")
    return ones


def class_indices(rows: Rows, name: str, classes: int | None) -> NDArray[np.int64]:
    """Return a fetched array of the index of a class a row, shape (N,).

    Args:
        rows: one batch.
        name: an array of shape (N,) or (N, 1), any real dtype.
        classes: how many classes there are; None where nothing says it.

    Raises:
        ValueError: a value is no index; its row's id is named.
    """
    values = column(rows, name)
    with np.errstate(invalid="ignore"):
        is_index = (values >= 0) & (values == np.floor(values))
    if classes is not None:
        is_index &= values < classes
    top = "up" if classes is None else f"to {classes - 1}"
    reject(rows, name, values, ~is_index, f"must hold the index of a class, 0 {top}")
    return values.astype(np.int64)


def logits_of(rows: Rows, name: str) -> NDArray[Any]:
    """Return a fetched array of a real number for each row and class, shape (N, C), C ≥ 2.

    Raises:
        ValueError: it is another.
    """
    logits = np.asarray(rows[name])
    if logits.ndim != 2 or logits.shape[1] < 2 or logits.dtype.kind not in "biuf":
        msg = (
            f"`{name}` must hold a real number for each row and class, shape (N, C), "
            f"C ≥ 2, got {logits.dtype} of shape {logits.shape}; for one score a row there is "
            "BinaryClassificationStats"
        )
        raise ValueError(msg)
    return logits


def reject(rows: Rows, name: str, values: NDArray[Any], bad: NDArray[np.bool_], rule: str) -> None:
    """Raise a ValueError that names the first bad value and its row's id, if there is one."""
    if bad.any():
        at = int(bad.argmax())
        msg = f"`{name}` {rule}, got {values[at].item()} at id {_shown(rows, at)}"
        raise ValueError(msg)


def reject_nan(rows: Rows, name: str, array: NDArray[Any]) -> None:
    """Raise an error that names the first rows that hold NaN, if there are any.

    Args:
        rows: one batch.
        name: what the array is called.
        array: shape (N, ...).

    Raises:
        NonFiniteError: there is a NaN.
    """
    is_nan = np.isnan(array)
    if is_nan.any():
        where = np.flatnonzero(is_nan.any(axis=tuple(range(1, array.ndim))))
        ids = ", ".join(_shown(rows, at) for at in where[:_NAMED])
        more = f" and {where.size - _NAMED} more" if where.size > _NAMED else ""
        msg = f"`{name}` must not hold NaN, got it at id {ids}{more}"
        raise errors.NonFiniteError(msg)


def _shown(rows: Rows, at: int) -> str:
    return repr(np.asarray(rows["id"])[at].item())
