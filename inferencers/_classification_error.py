"""The share of samples that a classifier gets wrong.

N is the number of rows of a batch, C the number of classes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from milepost.inferencers._column import class_indices, column, flags, logits_of, reject_nan
from milepost.inferencers._inferencer import Inferencer, Rows, State, Table
from milepost.inferencers._kept_rows import KeptRows


@final
class ClassificationError(Inferencer):
    """The share of samples whose class is not among the k classes of the largest logits.

    error@k = (number of samples whose class has rank > k) / (number of samples), a quotient of two
    counts: the same to the bit whatever the batch size, the number of workers and the order.
    Memory: a few counters, and a few bytes for each logit of one batch; a few bytes a sample where
    evidence is kept.

    The rank of a class is 1 + the number of larger logits + the number of equal logits of classes
    with a smaller index (so `error@1` is that of `argmax`). Where k ≥ C every class is among the
    k, and error@k is 0. An empty run gives no metric. The error of a `wrong` vector is
    tensorpack's `ClassificationError`; error@k is 1 - scikit-learn's `top_k_accuracy_score`, which
    settles ties the other way.

    Args:
        logits: a field or output of shape (N, C), C ≥ 2, any real dtype; anything that is larger
            for the likelier class. It may be infinite (a class that is masked out), not NaN.
        labels: a field or output of shape (N,) or (N, 1): the index of the class, from 0 to C - 1.
        k: each gives a metric `error@k`.
        wrong: a field or output of shape (N,) or (N, 1), 1 (or True) where the sample is wrong and
            0 where it is right. It gives the lone metric `error`, and the arguments above are not
            used.
        name: prefixes the metrics where two inferencers would log the same name.

    Raises:
        ValueError: `k` is empty or holds a number below 1. From `update`: an array of another
            shape, a label that is no index of a class.
        NonFiniteError: from `update`: a logit is NaN.

    Example:
        >>> error = ClassificationError(k=(1, 2))
        >>> logits = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]])
        >>> error.update({"id": np.arange(2), "output": logits, "label": np.array([1, 2])})
        >>> error.compute()
        {'error@1': 0.5, 'error@2': 0.0}
    """

    def __init__(
        self,
        logits: str = "output",
        labels: str = "label",
        *,
        k: Sequence[int] = (1, 5),
        wrong: str | None = None,
        name: str = "classification_error",
    ) -> None:
        if not k or min(k) < 1:
            msg = f"`k` must hold whole numbers of 1 or more, got {k}"
            raise ValueError(msg)
        self.name = name
        self.fetches = (logits, labels) if wrong is None else (wrong,)
        self._k = tuple(k)
        self._wrong = wrong
        self.reset()

    def reset(self) -> None:
        self._samples = 0
        self._kept = KeptRows()
        self._errors: Counter[str] = Counter()

    def update(self, rows: Rows) -> None:
        if self._wrong is not None:
            wrong = {"error": flags(rows, self._wrong)}
        else:
            ranks = self._ranks(rows)
            wrong = {f"error@{k}": ranks > k for k in self._k}
        if self.keep_evidence:
            label = {} if self._wrong is not None else {"label": column(rows, self.fetches[1])}
            self._kept.add(rows, {**label, **wrong})
        self._samples += len(rows["id"])
        for key, of in wrong.items():
            self._errors[key] += int(np.count_nonzero(of))

    def state(self) -> State:
        return {"samples": self._samples, "errors": dict(self._errors)}

    def merge(self, states: Sequence[State]) -> None:
        for state in states:
            self._samples += state["samples"]
            self._errors.update(state["errors"])

    def compute(self) -> Mapping[str, float] | None:
        if not self._samples:
            return None
        return {key: count / self._samples for key, count in self._errors.items()}

    def evidence(self) -> Mapping[str, Table]:
        """Return `"samples"`: whether each sample is an error, and its label."""
        return self._kept.tables()

    def _ranks(self, rows: Rows) -> NDArray[np.int32]:
        logits_name, labels_name = self.fetches
        logits = logits_of(rows, logits_name)
        reject_nan(rows, logits_name, logits)
        labels = class_indices(rows, labels_name, logits.shape[1])
        return ranks_of(logits, labels)


def ranks_of(logits: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the rank of each row's class, from 1; of equal logits the first ranks first.

    Args:
        logits: shape (N, C).
        labels: shape (N,), from 0 to C - 1.

    Example:
        >>> ranks_of(np.array([[2, 5, 5]] * 3), np.array([0, 1, 2])).tolist()
        [3, 1, 2]
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    ranks: NDArray[np.int32] = 1 + (logits > own).sum(axis=1, dtype=np.int32)
    equal = logits == own
    if np.count_nonzero(equal) > len(labels):  # ties are rare
        before = np.arange(logits.shape[1]) < labels[:, None]
        ranks += (equal & before).sum(axis=1, dtype=np.int32)
    return ranks
