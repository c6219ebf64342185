"""How far a classifier's confidence is from its accuracy.

N is the number of rows of a batch, C the number of classes, B that of bins.
"""

import math
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from milepost.inferencers._column import class_indices, logits_of, reject, reject_nan
from milepost.inferencers._evidence import Over
from milepost.inferencers._inferencer import Inferencer, Rows, State, Table
from milepost.inferencers._kept_rows import KeptRows
from milepost.inferencers._scalar_stats import exact_sum

Floats = NDArray[np.float64]
_VALUES = ("brier", "nll")
_TOLERANCE = 1e-3  # of the sum of probabilities that a model gives in half precision


@final
class Calibration(Inferencer):
    """Expected calibration error, Brier score and negative log-likelihood of a classifier.

    The confidence of a row is its largest probability, and it is right if that is of its class,
    of equals the first. Bins share 0 ... 1 evenly: [0, 1/B), ..., [1 - 1/B, 1].

    - `ece`: the sum over bins of |rows that are right - sum of their confidence|, over all rows
      (Guo et al., ICML 2017);
    - `brier`: the mean over rows of the sum over classes of (probability - 1 for the row's class,
      - 0 for others) squared (Brier 1950: from 0 to 2);
    - `nll`: the mean over rows of -log probability of the row's class; infinite where that is 0.

    Sums are exact: the same to the bit whatever the batch size, the number of workers and the
    order. An empty run gives no metric. Values are those of torchmetrics'
    `MulticlassCalibrationError` (which gives a confidence of exactly 1 a bin of its own), and of
    scikit-learn's `brier_score_loss` and `log_loss`.
    Memory: a few floats a bin; 48 bytes a row where evidence is kept.

    Args:
        logits: a field or output of shape (N, C), C ≥ 2, any real dtype; turned to probabilities
            by softmax, in float64.
        labels: a field or output of shape (N,) or (N, 1): the index of the class.
        bins: how many bins of confidence.
        probabilities: whether `logits` holds probabilities already.
        name: prefixes the metrics where two inferencers would log the same name.

    Raises:
        ValueError: `bins` is below 1. From `update`: an array of another shape, a label that is no
            index of a class, a largest logit that is infinite, probabilities below 0 or of another
            sum than 1.
        NonFiniteError: from `update`: a value is NaN.

    Example:
        >>> calibration = Calibration("p", bins=2, probabilities=True)
        >>> p = np.array([[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.25, 0.75]])
        >>> calibration.update({"id": np.arange(4), "p": p, "label": np.array([0, 1, 1, 1])})
        >>> metrics = calibration.compute()
        >>> metrics["ece"], metrics["brier"]
        (0.0, 0.375)
    """

    def __init__(
        self,
        logits: str = "output",
        labels: str = "label",
        *,
        bins: int = 15,
        probabilities: bool = False,
        name: str = "calibration",
    ) -> None:
        if bins < 1:
            msg = f"`bins` must be at least 1, got {bins}"
            raise ValueError(msg)
        self.name = name
        self.fetches = (logits, labels)
        self._bins = bins
        self._given = probabilities
        self.reset()

    def reset(self) -> None:
        self._counts = np.zeros((2, self._bins), np.int64)  # rows, and those that are right
        self._sums: dict[str, tuple[float, ...]] = dict.fromkeys((*_VALUES, *self._names()), ())
        self._kept = KeptRows()

    def update(self, rows: Rows) -> None:
        if not len(rows["id"]):
            return
        log, labels = self._log_probabilities(rows)
        sample = samples_of(log, labels)
        if self.keep_evidence:
            self._kept.add(rows, {"label": labels, **sample})
        bins = self._bins_of(sample["confidence"])
        right = bins[sample["right"] > 0]
        self._counts += np.stack([np.bincount(x, minlength=self._bins) for x in (bins, right)])
        sums = {name: sample[name] for name in _VALUES}
        for at in np.unique(bins):
            sums[str(at)] = sample["confidence"][bins == at]
        self._add({name: values.tolist() for name, values in sums.items()})

    def state(self) -> State:
        return {"counts": self._counts.copy(), "sums": dict(self._sums)}

    def merge(self, states: Sequence[State]) -> None:
        for state in states:
            self._counts = self._counts + state["counts"]
            self._add(state["sums"])

    def compute(self) -> Mapping[str, float] | None:
        count = int(self._counts[0].sum())
        if not count:
            return None
        gaps = [
            abs(math.fsum((right, *(-part for part in self._sums[name])))) / count
            for name, right in zip(self._names(), self._counts[1].tolist(), strict=True)
        ]
        means = {name: math.fsum(self._sums[name]) / count for name in _VALUES}
        return {"ece": sum(gaps), **means}

    def evidence(self) -> Mapping[str, Table]:
        """Return the rows, and the reliability of each bin.

        `"samples"`: label, confidence, `right` (1 or 0), `brier` and `nll` of this worker's rows;
        `"reliability"`: lower and upper end of each bin, rows, and the means of confidence and of
        being right, NaN without rows.
        """
        if not self._counts.any():
            return {}
        rows, right = self._counts
        sums = [math.fsum(self._sums[name]) for name in self._names()]
        with np.errstate(invalid="ignore"):  # 0 / 0: no rows
            reliability = {
                "lower": np.arange(self._bins) / self._bins,
                "upper": np.arange(1, self._bins + 1) / self._bins,
                "rows": rows,
                "confidence": np.asarray(sums) / rows,
                "accuracy": right / rows,
            }
        return {**self._kept.tables(), "reliability": reliability}

    def resampled(
        self, tables: Mapping[str, Table], weights: Floats, over: Over
    ) -> Mapping[str, Floats]:
        samples = tables["samples"]
        bins = self._bins_of(samples["confidence"])
        gaps = np.zeros(len(weights))
        for at in np.unique(bins):
            (rows,) = np.nonzero(bins == at)
            gaps += abs(weights[:, rows] @ (samples["right"] - samples["confidence"])[rows])
        means = super().resampled(tables, weights, over)
        return {"ece": gaps / weights.sum(axis=1), **{name: means[name] for name in _VALUES}}

    def _bins_of(self, confidence: Floats) -> NDArray[np.int64]:
        return np.minimum(confidence * self._bins, self._bins - 1).astype(np.int64)

    def _names(self) -> list[str]:
        return [str(at) for at in range(self._bins)]

    def _add(self, values: Mapping[str, Sequence[float]]) -> None:
        for name, each in values.items():
            self._sums[name] = exact_sum([*self._sums[name], *each])

    def _log_probabilities(self, rows: Rows) -> tuple[Floats, NDArray[np.int64]]:
        name = self.fetches[0]
        logits = np.ascontiguousarray(logits_of(rows, name), np.float64)
        reject_nan(rows, name, logits)
        labels = class_indices(rows, self.fetches[1], logits.shape[1])
        if not self._given:
            largest = logits.max(axis=1)
            rule = "must have a finite number as the largest of each row"
            reject(rows, name, largest, ~np.isfinite(largest), rule)
            return log_softmax(logits), labels
        rule = "must not hold a probability below 0"
        reject(rows, name, logits.min(axis=1), logits.min(axis=1) < 0, rule)
        sums = logits.sum(axis=1)
        rule = "must hold probabilities, whose sum is 1 for each row (or set probabilities=False)"
        reject(rows, name, sums, abs(sums - 1) > _TOLERANCE, rule)
        with np.errstate(divide="ignore"):
            return np.log(logits), labels


def samples_of(log_probabilities: Floats, labels: NDArray[np.int64]) -> dict[str, Floats]:
    """Return the confidence of each row, whether it is right, and its scores, (N,) each."""
    at = np.arange(len(labels))
    probabilities = np.exp(log_probabilities)
    wrong_by = probabilities.copy()
    wrong_by[at, labels] -= 1
    return {
        "confidence": probabilities.max(axis=1).clip(max=1.0),
        "right": (log_probabilities.argmax(axis=1) == labels).astype(np.float64),
        "brier": (wrong_by**2).sum(axis=1),
        "nll": 0.0 - log_probabilities[at, labels],
    }


def log_softmax(logits: Floats) -> Floats:
    """Return the logarithm of the softmax of each row."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
