"""The labels of a run: which there are, how many rows bear each, and their codes."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelTable:
    """The different labels of a run in ascending order, and how many rows bear each.

    Attributes:
        labels: shape (U,) or, for labels that are rows, (U, C); a structured array (U,) for labels
            of several fields.
        counts: int64 (U, 2), of query rows and of gallery rows.
    """

    labels: Labels
    counts: Ints

    @classmethod
    def of(cls, query_labels: Labels, gallery_labels: Labels) -> "LabelTable":
        """Return the table of the labels of query rows and of gallery rows."""
        tables = [
            cls(labels, np.broadcast_to(np.eye(2, dtype=np.int64)[role], (len(labels), 2)))
            for role, labels in enumerate((query_labels, gallery_labels))
        ]
        return cls.sum(tables)

    @classmethod
    def sum(cls, tables: Sequence["LabelTable"]) -> "LabelTable":
        """Return one table of the rows of all."""
        some = [table for table in tables if len(table.labels)]
        if not some:
            return cls(np.zeros(0), np.zeros((0, 2), np.int64))
        check_alike([table.labels for table in some])
        labels, inverse = _unique(np.concatenate([table.labels for table in some]))
        counts = np.zeros((len(labels), 2), np.int64)
        np.add.at(counts, inverse, np.concatenate([table.counts for table in some]))
        return cls(labels, counts)

    def codes(self, labels: Labels) -> Ints:
        """Return the position in the table of each of the labels, all of which are in it."""
        if not len(labels):
            return np.zeros(0, np.int64)
        _, inverse = _unique(np.concatenate([self.labels, labels]))
        return inverse[len(self.labels) :]


def as_labels(labels: Any, name: str) -> Labels:
    """Return labels as an array of integers, booleans, floats or strings; ints are int64.

    Raises:
        ValueError: they are of another type, NaN, or have neither one nor two axes.
    """
    array = np.asarray(labels)
    if array.dtype.names:  # each column was an array of labels
        return array
    if array.dtype.kind == "O":
        with contextlib.suppress(ValueError):  # rows of several lengths make no array
            array = np.array(array.tolist())
    if array.dtype.kind not in "biufUS" or array.ndim not in (1, 2):
        sets = "; `Retrieval` takes sets by `labels=LabelSets(...)`" if array.dtype == "O" else ""
        msg = (
            f"`{name}` must be integers, booleans, floats or strings of shape (N,) or (N, C), "
            f"got {array.dtype} of shape {array.shape}{sets}"
        )
        raise ValueError(msg)
    if array.dtype.kind == "f" and np.isnan(array).any():
        row = np.argwhere(np.isnan(array))[0, 0]
        msg = f"`{name}` must not be NaN, got it in row {row} of a batch"
        raise ValueError(msg)
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        msg = f"`{name}` must be below 2^63, got {array.max()}"
        raise ValueError(msg)
    return array.astype(np.int64) if array.dtype.kind in "iu" else array


def check_alike(arrays: Sequence[Labels], name: str = "labels") -> None:
    """Raise an error unless all labels are of one kind and shape: joining them changes none.

    Raises:
        ValueError: they differ.
    """
    kinds = {(*(dtype.kind for dtype in _column_types(array)), array.shape[1:]) for array in arrays}
    if len(kinds) > 1:
        found = " and ".join(sorted({f"{array.dtype} {array.shape[1:]}" for array in arrays}))
        msg = f"{name} must be of one type and shape throughout a run, got {found}"
        raise ValueError(msg)


def _unique(labels: Labels) -> tuple[Labels, Ints]:
    """Return the different labels, ascending, and the position of each label among them."""
    if labels.dtype.names:
        inverse = np.zeros(len(labels), np.int64)
        for name in labels.dtype.names:
            values, codes = np.unique(labels[name], return_inverse=True)
            inverse = np.unique(inverse * len(values) + codes, return_inverse=True)[1]
        _, first = np.unique(inverse, return_index=True)
        return labels[first], inverse
    axis = 0 if labels.ndim > 1 else None
    unique, inverse = np.unique(labels, axis=axis, return_inverse=True)
    return unique, inverse.reshape(-1)


def _column_types(labels: Labels) -> list[np.dtype[Any]]:
    names = labels.dtype.names
    return [labels.dtype[name] for name in names] if names else [labels.dtype]
