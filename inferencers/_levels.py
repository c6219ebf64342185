"""Labels of several columns: rows of them, and the levels of a hierarchy.

N is the number of rows, C that of columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from milepost.inferencers._inferencer import Rows
from milepost.inferencers._label_table import Labels, LabelTable, as_labels
from milepost.inferencers._relevance import Gain, Relevance, RelevantLabels
from milepost.neighbors import backend_of


class Level(NamedTuple):
    """A level of labels.

    Attributes:
        prefix: of the names of its metrics: empty, or with a slash at the end.
        relevance: which labels are relevant to which at this level.
    """

    prefix: str
    relevance: Relevance


def levels_of(
    table: LabelTable, relevant: RelevantLabels | None, gain: Gain | None, *, split: bool
) -> list[Level]:
    """Return a level for each column of the labels, or one for all of them together."""
    labels = table.labels
    if not split or not len(labels):
        return [Level("", Relevance(table, relevant, gain))]
    levels = []
    for name, column in _columns(labels):
        unique, codes = np.unique(column, return_inverse=True)
        counts = np.zeros((len(unique), 2), np.int64)
        np.add.at(counts, codes, table.counts)
        own = LabelTable(unique, counts)
        levels.append(Level(f"{name}/", Relevance(own, relevant, gain, codes)))
    return levels


def batch_labels(rows: Rows, fields: Sequence[str], *, split: bool) -> Labels:
    """Return the labels of a batch: those of a field or, of several fields, a structured array.

    Raises:
        ValueError: the labels are of another type or shape.
    """
    columns = {each: as_labels(backend_of(rows[each]).numpy(rows[each]), each) for each in fields}
    if len(columns) == 1:
        (labels,) = columns.values()
        if split and labels.ndim == 1:
            msg = (
                "`levels=True` needs labels of several columns: several fields or shape (N, C), "
                f"got {fields[0]!r} of shape {labels.shape}"
            )
            raise ValueError(msg)
        return labels
    shapes = {column.shape for column in columns.values()}
    if len(shapes) > 1 or len(shapes.copy().pop()) > 1:
        found = ", ".join(f"{name!r} of shape {column.shape}" for name, column in columns.items())
        msg = f"`labels` of several fields must have shape (N,), got {found}"
        raise ValueError(msg)
    result = np.empty(shapes.pop(), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        result[name] = column
    return result


def as_array(labels: Labels) -> Labels:
    """Return labels as a plain array: those of several fields as rows, of text if kinds differ."""
    if labels.dtype.names is None:
        return labels
    return beside([column for _, column in _columns(labels)])


def beside(columns: Sequence[Labels]) -> Labels:
    """Return columns side by side, as text if their kinds differ; a lone one as it is."""
    if len(columns) == 1:
        return columns[0]
    if len({column.dtype.kind for column in columns}) > 1:
        columns = [column.astype(str) for column in columns]
    return np.column_stack(columns)


def _columns(labels: Labels) -> list[tuple[str, Labels]]:
    if labels.dtype.names is None:
        return [(f"level{at}", labels[:, at]) for at in range(labels.shape[1])]
    return [(name, labels[name]) for name in labels.dtype.names]
