"""The fields that hold the labels of a retrieval."""

from collections.abc import Sequence
from typing import final

import numpy as np

from milepost.inferencers._fields import as_fields
from milepost.inferencers._inferencer import Rows
from milepost.inferencers._label_sets import LabelSets, in_columns
from milepost.inferencers._label_table import Labels, LabelTable, as_labels
from milepost.inferencers._levels import Level, levels_of
from milepost.inferencers._relevance import Gain, RelevantLabels
from milepost.neighbors import backend_of


@final
class LabelFields:
    """Reads the labels of rows, and tells what they mean to one another.

    Args:
        labels: a field, several fields, or a field of sets.
        relevant: which labels are relevant to which, as for `Relevance`.
        gain: what they gain.
        split: whether each column of the labels is a level of its own.

    Raises:
        ValueError: the fields are no names, or sets are to be split.

    Attributes:
        names: the fields.
        name: what they are called together.
    """

    def __init__(
        self,
        labels: str | Sequence[str] | LabelSets,
        relevant: RelevantLabels | None,
        gain: Gain | None,
        *,
        split: bool,
    ) -> None:
        self._sets = labels if isinstance(labels, LabelSets) else None
        if self._sets and split:
            msg = f"`levels=True` needs labels of several columns, got {labels!r}"
            raise ValueError(msg)
        self.names = as_fields("labels", labels.field if isinstance(labels, LabelSets) else labels)
        self.name = ", ".join(self.names)
        self._relevant, self._gain, self._split = relevant, gain, split

    def read(self, rows: Rows) -> Labels:
        """Return the labels of a batch; those of several fields as a structured array.

        Raises:
            ValueError: the labels are of another type or shape.
        """
        if self._sets:
            return self._sets.texts(rows[self._sets.field])
        arrays = {name: backend_of(rows[name]).numpy(rows[name]) for name in self.names}
        columns = {name: as_labels(array, name) for name, array in arrays.items()}
        if len(columns) > 1:
            return _structured(columns)
        ((name, labels),) = columns.items()
        if self._split and labels.ndim == 1:
            msg = (
                "`levels=True` needs labels of several columns: several fields or shape (N, C), "
                f"got {name!r} of shape {labels.shape}"
            )
            raise ValueError(msg)
        return labels

    def levels(self, table: LabelTable) -> list[Level]:
        """Return which labels of a run are relevant to which, level by level."""
        columns = in_columns(table.labels) if self._sets else table.labels
        return levels_of(table, columns, self._relevant, self._gain, split=self._split)


def _structured(columns: dict[str, Labels]) -> Labels:
    shapes = {column.shape for column in columns.values()}
    if len(shapes) > 1 or len(shapes.copy().pop()) > 1:
        found = ", ".join(f"{name!r} of shape {column.shape}" for name, column in columns.items())
        msg = f"`labels` of several fields must have shape (N,), got {found}"
        raise ValueError(msg)
    result = np.empty(shapes.pop(), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        result[name] = column
    return result
