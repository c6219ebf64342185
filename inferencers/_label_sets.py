"""Sets of labels: rows that bear any number of them.

N is the number of rows, U that of different sets, V that of different labels.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._label_table import Labels
from milepost.neighbors import backend_of

_encoded = json.JSONEncoder(ensure_ascii=False).encode


@final
@dataclass(frozen=True)
class LabelSets:
    """A field that holds a set of labels for each row, in the place of a column for each label.

    `Retrieval(labels=LabelSets("tags", pad=-1), relevant=any_shared)` gives what the same sets in
    columns of 0 and 1 give: `relevant` and `gain` are called with such rows, a column for each
    label of the run, ascending. Sets may differ in size; order and repetition mean nothing. In
    evidence a set is its JSON text, such as `[3, 7]`. Memory: that text, four bytes a character of
    the longest; and a byte for each label and each different set.

    Args:
        field: holds integers or strings, all of one kind: a matrix (N, C), or for each row a list,
            tuple, set or array of them; or a ragged tensor of TensorFlow.
        pad: the value that fills up the rows of a matrix, and is no label.

    Example:
        >>> LabelSets("tags", pad=-1).texts(np.array([[7, 3, -1], [-1, -1, -1]])).tolist()
        ['[3, 7]', '[]']
    """

    field: str
    pad: int | str | None = None

    def texts(self, values: Any) -> Labels:
        """Return the sets of a batch as texts, equal ones for equal sets, shape (N,).

        Raises:
            ValueError: they are not sets of integers or strings.
        """
        return np.array([self._text(row) for row in self._rows(values)], dtype=str)

    def _rows(self, values: Any) -> Sequence[Any]:
        """Return the labels of each row as lists."""
        if hasattr(values, "flat_values"):  # a ragged tensor, which is no array
            return [_plain(row) for row in values.to_list()]
        array = backend_of(values).numpy(values)
        if array.ndim == 2 or (array.ndim == 1 and array.dtype.kind == "O"):
            return [_plain(row) for row in array.tolist()]
        msg = (
            f"`{self.field}` must hold a row of labels for each sample, such as a list or one of "
            f"a matrix (N, C), got {array.dtype} of shape {array.shape}"
        )
        raise ValueError(msg)

    def _text(self, row: Any) -> str:
        known = isinstance(row, list) and {type(label) for label in row} <= {int, str}
        if not known:
            msg = f"`{self.field}` must hold sets of integers or strings, got {row!r}"
            raise ValueError(msg)
        labels = set(row) - {self.pad}
        _check_kinds(labels)
        return _encoded(sorted(labels))


def in_columns(texts: Labels) -> npt.NDArray[np.bool_]:
    """Return which labels each set holds, bool (U, V), a column for each label, ascending.

    Raises:
        ValueError: some labels are integers and others strings.

    Example:
        >>> in_columns(np.array(["[3, 7]", "[]", "[7]"])).astype(int)
        array([[1, 1],
               [0, 0],
               [0, 1]])
    """
    sets = [json.loads(text) for text in texts.tolist()]
    labels = {label for each in sets for label in each}
    _check_kinds(labels)
    column_of = {label: at for at, label in enumerate(sorted(labels))}
    columns = np.zeros((len(sets), len(labels)), np.bool_)
    rows = np.repeat(np.arange(len(sets)), [len(each) for each in sets])
    columns[rows, [column_of[label] for each in sets for label in each]] = True
    return columns


def _plain(row: Any) -> Any:
    """Return a row as a list of Python's integers and strings, where it is one of such."""
    row = row.tolist() if hasattr(row, "tolist") else row
    if not isinstance(row, list | tuple | set | frozenset):
        return row
    return [_plain_label(label) for label in row]


def _plain_label(label: Any) -> Any:
    if isinstance(label, bytes):
        return label.decode()
    return label.tolist() if hasattr(label, "tolist") else label


def _check_kinds(labels: Iterable[Any]) -> None:
    if len({type(label) for label in labels}) > 1:
        first, second = ({type(x): x for x in labels}[kind] for kind in (int, str))
        msg = f"sets of labels must be of integers or of strings, got {first!r} and {second!r}"
        raise ValueError(msg)
