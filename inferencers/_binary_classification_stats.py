"""How well one score a sample tells positives from negatives; N is the rows of a batch."""

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from milepost.inferencers._column import column, flags, reject_nan
from milepost.inferencers._evidence import Floats, Over
from milepost.inferencers._inferencer import Inferencer, Rows, State, Table
from milepost.inferencers._kept_rows import KeptRows


@final
class BinaryClassificationStats(Inferencer):
    """Precision, recall, F1 and specificity at a threshold; average precision and ROC AUC.

    A row is predicted positive where score ≥ threshold, compared in the dtype of the scores. With
    the counts of true and false, positive and negative predictions TP, FP, TN, FN:

    - `precision` = TP / (TP + FP)
    - `recall` = TP / (TP + FN)
    - `f1` = 2 TP / (2 TP + FP + FN)
    - `specificity` = TN / (TN + FP)
    - `average_precision`: the mean, over the positive rows, of the precision at the threshold that
      is the row's own score; equal scores are taken together. Not interpolated.
    - `roc_auc`: the share of pairs of a positive and a negative row in which the positive has the
      higher score; a pair of equal scores counts half.

    The values are scikit-learn's, except that one whose denominator is 0 (no row is predicted
    positive, or there are none of a class) is NaN: there is nothing to measure. An empty run gives
    no metric. Results are the same to the bit whatever the batch size, the number of workers and
    the order. The curves are exact and need every score: memory 8 bytes a sample, and as much
    again for each worker's state while states are merged, and where evidence is kept.

    Args:
        scores: a field or output of shape (N,) or (N, 1), any real dtype: a probability, or a
            logit with `threshold=0.0`. It may be infinite, not NaN.
        labels: a field or output of shape (N,) or (N, 1): 1 (or True) for positive, 0 for negative.
        threshold: the smallest score that is predicted positive.
        name: prefixes the metrics where two inferencers would log the same name.

    Raises:
        ValueError: `threshold` is NaN. From `update`: an array of another shape, a label other
            than 0 and 1.
        NonFiniteError: from `update`: a score is NaN.

    Example:
        >>> stats = BinaryClassificationStats()
        >>> scores, labels = np.array([0.9, 0.8, 0.3, 0.1]), np.array([1, 0, 1, 0])
        >>> stats.update({"id": np.arange(4), "output": scores, "label": labels})
        >>> metrics = stats.compute()
        >>> metrics["precision"], metrics["roc_auc"]
        (0.5, 0.75)
    """

    def __init__(
        self,
        scores: str = "output",
        labels: str = "label",
        *,
        threshold: float = 0.5,
        name: str = "binary_classification_stats",
    ) -> None:
        if math.isnan(threshold):
            msg = f"`threshold` must be a number, got {threshold}"
            raise ValueError(msg)
        self.name = name
        self.fetches = (scores, labels)
        self._threshold = float(threshold)
        self.reset()

    def reset(self) -> None:
        self._counts: Counter[str] = Counter()
        self._kept = KeptRows()
        self._positive, self._negative = array("d"), array("d")  # scores, by class

    def update(self, rows: Rows) -> None:
        scores_name, labels_name = self.fetches
        scores = column(rows, scores_name)
        labels = flags(rows, labels_name)
        reject_nan(rows, scores_name, scores)
        if self.keep_evidence:
            self._kept.add(rows, {"label": labels, "score": scores})
        predicted = scores >= self._threshold
        self._add(
            {
                "tp": int(np.count_nonzero(predicted & labels)),
                "fp": int(np.count_nonzero(predicted & ~labels)),
            },
            scores[labels],
            scores[~labels],
        )

    def state(self) -> State:
        return {
            "counts": dict(self._counts),
            "positive": np.array(self._positive),
            "negative": np.array(self._negative),
        }

    def merge(self, states: Sequence[State]) -> None:
        for state in states:
            self._add(state["counts"], state["positive"], state["negative"])

    def compute(self) -> Mapping[str, float] | None:
        positive, negative = np.sort(self._positive), np.sort(self._negative)
        if not positive.size + negative.size:
            return None
        tp, fp = self._counts["tp"], self._counts["fp"]
        fn, tn = positive.size - tp, negative.size - fp
        return {
            "precision": _ratio(tp, tp + fp),
            "recall": _ratio(tp, tp + fn),
            "f1": _ratio(2 * tp, 2 * tp + fp + fn),
            "specificity": _ratio(tn, tn + fp),
            "average_precision": average_precision(positive, negative),
            "roc_auc": roc_auc(positive, negative),
        }

    def evidence(self) -> Mapping[str, Table]:
        """Return `"samples"`: the score and the label of each sample."""
        return self._kept.tables()

    def resampled(
        self, tables: Mapping[str, Table], weights: Floats, over: Over
    ) -> Mapping[str, Floats]:
        if "samples" not in tables:
            return {}
        scores, labels = tables["samples"]["score"], tables["samples"]["label"]
        order = np.argsort(scores)
        ranked = Ranked(scores[order], labels[order], self._threshold)
        values = [ranked.stats(each[order]) for each in weights]
        return {name: np.array([each[name] for each in values]) for name in values[0]}

    def _add(
        self, counts: Mapping[str, int], positive: NDArray[Any], negative: NDArray[Any]
    ) -> None:
        self._counts.update(counts)
        self._positive.frombytes(positive.astype(np.float64).tobytes())
        self._negative.frombytes(negative.astype(np.float64).tobytes())


@final
class Ranked:
    """Scores in ascending order, to be weighted in many ways.

    Args:
        scores: shape (N,), ascending, N > 0.
        labels: bool (N,).
        threshold: the smallest score that is predicted positive.
    """

    def __init__(self, scores: NDArray[Any], labels: NDArray[np.bool_], threshold: float) -> None:
        self._starts = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
        self._predicted = (scores >= threshold)[self._starts]
        self._labels = labels

    def stats(self, weights: Floats) -> dict[str, float]:
        """Return the metrics of samples that count as often as weights (N,) say."""
        positive = np.add.reduceat(weights * self._labels, self._starts)  # by different score
        negative = np.add.reduceat(weights * ~self._labels, self._starts)
        found, false = positive[::-1].cumsum()[::-1], negative[::-1].cumsum()[::-1]
        positives, negatives = float(found[0]), float(false[0])
        tp, fp = (float(each[self._predicted].sum()) for each in (positive, negative))
        hit = positive > 0
        precise = float((positive[hit] * found[hit] / (found[hit] + false[hit])).sum())
        ordered = float((positive * (negatives - false + negative / 2)).sum())
        return {
            "precision": _ratio(tp, tp + fp),
            "recall": _ratio(tp, positives),
            "f1": _ratio(2 * tp, tp + fp + positives),
            "specificity": _ratio(negatives - fp, negatives),
            "average_precision": _ratio(precise, positives),
            "roc_auc": _ratio(ordered, positives * negatives),
        }


def average_precision(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Return the mean over positives of the precision at their own score; NaN if there are none.

    Args:
        positive: scores of the positive samples, ascending.
        negative: scores of the negative samples, ascending.

    Example:
        >>> average_precision(np.array([0.3, 0.9]), np.array([0.1, 0.8]))
        0.8333333333333333
    """
    found = positive.size - np.searchsorted(positive, positive, side="left")
    false = negative.size - np.searchsorted(negative, positive, side="left")
    return _ratio(math.fsum(found / (found + false)), positive.size)


def roc_auc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Return the share of (positive, negative) pairs in the right order, equal ones half.

    Args:
        positive: scores of the positive samples, ascending.
        negative: scores of the negative samples, ascending.

    Returns:
        NaN if there are none of either.

    Example:
        >>> roc_auc(np.array([0.3, 0.9]), np.array([0.1, 0.3]))
        0.875
    """
    lower = np.searchsorted(negative, positive, side="left")
    lower_or_equal = np.searchsorted(negative, positive, side="right")
    return _ratio(int(lower.sum() + lower_or_equal.sum()), 2 * positive.size * negative.size)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
