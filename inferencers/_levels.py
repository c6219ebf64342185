"""Labels of several columns: rows of them, and the levels of a hierarchy.

N is the number of rows, C that of columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from milepost.inferencers._label_table import Labels, LabelTable
from milepost.inferencers._relevance import Gain, Relevance, RelevantLabels


class Level(NamedTuple):
    """A level of labels.

    Attributes:
        prefix: of the names of its metrics: empty, or with a slash at the end.
        relevance: which labels are relevant to which at this level.
        labels: as they are told, in the order of its codes.
    """

    prefix: str
    relevance: Relevance
    labels: Labels


def levels_of(
    table: LabelTable,
    columns: Labels,
    relevant: RelevantLabels | None,
    gain: Gain | None,
    *,
    split: bool,
) -> list[Level]:
    """Return a level for each column of the labels, or one for all of them together.

    Args:
        table: the labels of the run.
        columns: the same labels as `relevant` and `gain` are to see them.
        relevant: as for `Relevance`.
        gain: likewise.
        split: whether there are as many levels as columns.
    """
    if not split or not len(columns):
        seen = LabelTable(columns, table.counts)
        return [Level("", Relevance(seen, relevant, gain), table.labels)]
    levels = []
    for name, column in _columns(columns):
        unique, codes = np.unique(column, return_inverse=True)
        counts = np.zeros((len(unique), 2), np.int64)
        np.add.at(counts, codes, table.counts)
        own = LabelTable(unique, counts)
        levels.append(Level(f"{name}/", Relevance(own, relevant, gain, codes), unique))
    return levels


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
