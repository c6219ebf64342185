"""Which classes a classifier takes for which; N is the rows of a batch, C the number of classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from milepost.inferencers._column import class_indices, logits_of, reject_nan
from milepost.inferencers._evidence import Over
from milepost.inferencers._inferencer import Inferencer, Rows, State, Table
from milepost.inferencers._kept_rows import KeptRows

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_MACRO = ("precision", "recall", "f1")


@final
class ConfusionMatrix(Inferencer):
    """The counts of each class taken for each, and what they say of the classes.

    With TP, FP and FN the rows that are rightly, wrongly and not predicted to be of a class:

    - `accuracy`: the share of rows whose class is predicted;
    - `balanced_accuracy`: the mean of recall over the classes that rows are of;
    - `macro_precision`, `macro_recall`, `macro_f1`: the means of TP / (TP + FP), TP / (TP + FN)
      and 2 TP / (2 TP + FP + FN), 0 where nothing is divided by nothing, over the classes that
      rows are of or are predicted to be.

    Quotients of counts: the same to the bit whatever the batch size, the number of workers and the
    order. An empty run gives no metric. Values are those of scikit-learn's `accuracy_score`,
    `balanced_accuracy_score` and, with `average="macro", zero_division=0`, of `precision_score`,
    `recall_score` and `f1_score`; of torchmetrics' classes with `average="macro"`.
    Memory: a C x C matrix of counts; 25 bytes a row where evidence is kept.

    Args:
        logits: a field or output of shape (N, C), C ≥ 2, any real dtype, of which the largest is
            predicted, of equals the first; or the predicted classes, integers of shape (N,).
        labels: a field or output of shape (N,) or (N, 1): the index of the class.
        classes: the names of the classes, which evidence then shows instead of their indices.
        confused: how many of the most confused pairs of classes evidence shows.
        name: prefixes the metrics where two inferencers would log the same name.

    Raises:
        ValueError: `confused` is negative. From `update`: an array of another shape, a label or a
            prediction that is no index of a class.
        NonFiniteError: from `update`: a logit is NaN.

    Example:
        >>> matrix = ConfusionMatrix("predicted")
        >>> matrix.update(
        ...     {"id": np.arange(3), "predicted": np.array([0, 1, 1]), "label": np.array([0, 0, 1])}
        ... )
        >>> matrix.compute()["balanced_accuracy"]
        0.75
        >>> {name: column.tolist() for name, column in matrix.evidence()["confused"].items()}
        {'label': [0], 'predicted': [1], 'count': [1], 'share': [0.5]}
    """

    def __init__(
        self,
        logits: str = "output",
        labels: str = "label",
        *,
        classes: Sequence[str] | None = None,
        confused: int = 20,
        name: str = "confusion_matrix",
    ) -> None:
        if confused < 0:
            msg = f"`confused` must be 0 or more, got {confused}"
            raise ValueError(msg)
        self.name = name
        self.fetches = (logits, labels)
        self._classes = None if classes is None else np.asarray(classes)
        self._confused = confused
        self.reset()

    def reset(self) -> None:
        self._counts = np.zeros((0, 0), np.int64)
        self._kept = KeptRows()

    def update(self, rows: Rows) -> None:
        predicted, classes = self._predictions(rows)
        labels = class_indices(rows, self.fetches[1], classes)
        size = max(classes or 0, 1 + int(max(labels.max(initial=-1), predicted.max(initial=-1))))
        self._counts = _added(self._counts, counts_of(labels, predicted, size))
        if self.keep_evidence:
            right = labels == predicted
            self._kept.add(rows, {"label": labels, "predicted": predicted, "accuracy": right})

    def state(self) -> State:
        return {"counts": self._counts.copy()}

    def merge(self, states: Sequence[State]) -> None:
        for state in states:
            self._counts = _added(self._counts, state["counts"])

    def compute(self) -> Mapping[str, float] | None:
        if not self._counts.any():
            return None
        return Rates.of(self._counts).means()

    def evidence(self) -> Mapping[str, Table]:
        """Return what lies behind the means.

        `"samples"`: label, predicted class and `accuracy` (1 or 0) of this worker's rows;
        `"classes"`: rows, predictions, precision, recall and F1 of each class;
        `"matrix"`: the counts that are not 0; `"confused"`: the largest off the diagonal, with
        their share of the rows of the label.
        """
        if not self._counts.any():
            return {}
        counts = self._counts
        label, predicted = np.nonzero(counts)
        matrix = {"label": label, "predicted": predicted, "count": counts[label, predicted]}
        (wrong,) = np.nonzero(label != predicted)
        worst = wrong[np.argsort(-matrix["count"][wrong], kind="stable")][: self._confused]
        confused = {name: column[worst] for name, column in matrix.items()}
        confused["share"] = confused["count"] / counts.sum(axis=1)[confused["label"]]
        rates = Rates.of(counts)
        (label,) = np.nonzero(rates.occurs)
        classes = {name: column[label] for name, column in rates.columns().items()}
        tables = {
            **self._kept.tables(),
            "classes": {"label": label, **classes},
            "matrix": matrix,
            "confused": confused,
        }
        return {name: self._named(table) for name, table in tables.items()}

    def resampled(
        self, tables: Mapping[str, Table], weights: Floats, over: Over
    ) -> Mapping[str, Floats]:
        samples = tables["samples"]
        both = np.concatenate([samples["label"], samples["predicted"]])
        classes, codes = np.unique(both, return_inverse=True)
        labels, predicted = np.split(codes, 2)
        right = np.where(labels == predicted, labels, len(classes))
        columns = labels, predicted, right
        drawn = []
        for each in weights:
            counts = (np.bincount(x, each, len(classes) + 1)[:-1] for x in columns)
            drawn.append(Rates(*counts).means())
        return {name: np.array([means[name] for means in drawn]) for name in drawn[0]}

    def _named(self, table: Table) -> Table:
        """Return a table with names of classes in place of indices, where there are names."""
        names = self._classes
        if names is None:
            return table
        if len(names) < len(self._counts):
            msg = f"`classes` must name all {len(self._counts)} classes, got {len(names)} names"
            raise ValueError(msg)
        columns = ("label", "predicted")
        return {key: names[x] if key in columns else x for key, x in table.items()}

    def _predictions(self, rows: Rows) -> tuple[Ints, int | None]:
        """Return the predicted class of each row, and the number of classes if that is known."""
        name = self.fetches[0]
        array = np.asarray(rows[name])
        if array.ndim == 1 and array.dtype.kind in "biu":
            return class_indices(rows, name, None), None
        logits = logits_of(rows, name)
        reject_nan(rows, name, logits)
        return logits.argmax(axis=1).astype(np.int64), logits.shape[1]


def counts_of(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """Return how many rows of each label have each prediction, (C, C).

    Example:
        >>> counts_of(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    flat = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return flat.astype(np.int64).reshape(classes, classes)


@dataclass(frozen=True)
class Rates:
    """How often each class is rightly, and wrongly, predicted.

    Attributes:
        rows: (C,), how many rows are of each class, which may be weighted.
        predicted: (C,), how many are predicted to be.
        right: (C,), how many are both.
    """

    rows: NDArray[Any]
    predicted: NDArray[Any]
    right: NDArray[Any]

    @classmethod
    def of(cls, counts: Ints) -> "Rates":
        """Return those of a matrix of counts."""
        return cls(counts.sum(axis=1), counts.sum(axis=0), np.diagonal(counts))

    @property
    def occurs(self) -> NDArray[np.bool_]:
        """Whether rows are of each class or are predicted to be."""
        return (self.rows > 0) | (self.predicted > 0)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return what is known of each class, (C,); 0 / 0 counts as 0."""
        return {
            "rows": self.rows,
            "predicted_rows": self.predicted,
            "precision": _ratio(self.right, self.predicted),
            "recall": _ratio(self.right, self.rows),
            "f1": _ratio(2 * self.right, self.rows + self.predicted),
        }

    def means(self) -> dict[str, float]:
        """Return the metrics."""
        columns = self.columns()
        means = {
            "accuracy": self.right.sum() / self.rows.sum(),
            "balanced_accuracy": columns["recall"][self.rows > 0].mean(),
            **{f"macro_{name}": columns[name][self.occurs].mean() for name in _MACRO},
        }
        return {name: float(value) for name, value in means.items()}


def _added(one: Ints, other: Ints) -> Ints:
    """Return the sum of two square matrices, the smaller one filled up with zeros."""
    if len(one) < len(other):
        one, other = other, one
    total = one.copy()
    total[: len(other), : len(other)] += other
    return total


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    result = np.zeros(len(part))
    np.divide(part, whole, out=result, where=whole > 0)
    return result
