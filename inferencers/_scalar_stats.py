"""Means over samples of scalars that the batch or the model gives; N is the rows of a batch."""

import math
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np

from milepost.inferencers._column import column
from milepost.inferencers._fields import as_fields
from milepost.inferencers._inferencer import Inferencer, Rows, State, Table
from milepost.inferencers._kept_rows import KeptRows

_SCALE = 2.0**-64  # sums are kept in this unit, so that no sum of float64 values overflows


@final
class ScalarStats(Inferencer):
    """The mean over samples of each scalar it fetches, such as a loss.

    mean = (sum of the values of all rows) / (number of rows). The sum is exact and rounded once
    (values below 1e-288 in size apart), so the mean is the same to the bit whatever the batch
    size, the number of workers and the order; it is that of `math.fsum(values) / len(values)`.
    Memory: a few floats a name; the values where evidence is kept.

    A NaN makes its mean NaN, and so do infinities of both signs; infinities of one sign make it
    infinite. An empty run gives no metric. The source of the idea is tensorpack's `ScalarStats`,
    whose values `weighted=False` gives.

    Args:
        names: a field or output of shape (N,) or (N, 1), any real dtype, or a sequence of them.
            Each is also the name of its metric, as it is written here: `"model.loss"` gives
            `model.loss`.
        *more: further ones.
        weighted: by samples. False lets the mean of each batch count once, however many rows the
            batch has: the result then depends on the batch size, and has no evidence by sample.
        name: prefixes the metrics where two inferencers would log the same name.

    Raises:
        ValueError: no name, or one that is given twice.

    Example:
        >>> stats = ScalarStats("loss")
        >>> stats.update({"id": np.arange(3), "loss": np.array([0.5, 0.5, 2.0])})
        >>> stats.update({"id": np.arange(3, 4), "loss": np.array([3.0])})
        >>> stats.compute()
        {'loss': 1.5}
    """

    def __init__(
        self,
        names: str | Sequence[str],
        *more: str,
        weighted: bool = True,
        name: str = "scalar_stats",
    ) -> None:
        self.name = name
        self.fetches = as_fields("names", names, more)
        self._weighted = weighted
        self.reset()

    def reset(self) -> None:
        self._count = 0
        self._kept = KeptRows()
        self._sums: dict[str, tuple[float, ...]] = dict.fromkeys(self.fetches, ())

    def update(self, rows: Rows) -> None:
        size = len(rows["id"])
        if not size:
            return
        columns = {x: column(rows, x).astype(np.float64) for x in self.fetches}
        if self.keep_evidence and self._weighted:
            self._kept.add(rows, columns)
        values = {x: (each * _SCALE).tolist() for x, each in columns.items()}
        if not self._weighted:
            values = {x: [math.fsum(exact_sum(each)) / size] for x, each in values.items()}
        self._add(size if self._weighted else 1, values)

    def state(self) -> State:
        return {"count": self._count, "sums": dict(self._sums)}

    def merge(self, states: Sequence[State]) -> None:
        for state in states:
            self._add(state["count"], state["sums"])

    def compute(self) -> Mapping[str, float] | None:
        if not self._count:
            return None
        return {k: math.fsum(parts) / self._count / _SCALE for k, parts in self._sums.items()}

    def evidence(self) -> Mapping[str, Table]:
        """Return `"samples"`: the values of each sample."""
        return self._kept.tables()

    def _add(self, count: int, values: Mapping[str, Sequence[float]]) -> None:
        self._count += count
        for name, each in values.items():
            self._sums[name] = exact_sum([*self._sums[name], *each])


def exact_sum(values: Sequence[float]) -> tuple[float, ...]:
    """Return a few floats that have the same exact sum, the largest first.

    So sums can be added in any order without rounding: each float is what the ones before it
    left of the sum, correctly rounded. Where a value is not finite, so is the lone result.

    Example:
        >>> exact_sum([1e100, 1.0, -1e100, 2.0])
        (3.0,)
        >>> exact_sum([1e100, 1.0])
        (1e+100, 1.0)
    """
    if not math.isfinite(sum(values)):  # it may also have overflowed
        endless = [value for value in values if not math.isfinite(value)]
        if endless:
            return (sum(endless),)
    rest = list(values)
    parts = []
    while part := math.fsum(rest):
        parts.append(part)
        rest.append(-part)
    return tuple(parts)
