"""Any metric of Keras as an inferencer."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from milepost.inferencers._fields import as_fields
from milepost.inferencers._inferencer import Inferencer, Rows, State


@final
class KerasMetric(Inferencer):
    """A metric of Keras 3.

    It runs on a copy; the metric that is passed, which may be one of a training, is not touched.
    Each batch is handed to `update_state`; workers are merged by adding the metric's variables, as
    Keras declares them (`aggregation="sum"`).

    Keras adds up in float32: the result does not depend on batch size, order or number of workers
    but for rounding, of about 1e-7 of the value. An empty run gives no metric.
    Memory: that of the metric.

    Args:
        metric: a `keras.metrics.Metric`.
        names: the field or output for the first argument of its `update_state`, or a sequence of
            those for all, in order (`y_true`, `y_pred`).
        *more: those for the further arguments.
        name: the name of the metric's value; by default the metric's own.

    Raises:
        TypeError: `metric` is none of Keras.
        ValueError: in a run with several workers: a variable of the metric does not add up.

    Example:
        >>> import keras
        >>> accuracy = KerasMetric(keras.metrics.SparseCategoricalAccuracy(name="accuracy"))
        >>> rows = {"id": np.arange(2), "output": np.eye(3)[:2], "label": np.array([0, 2])}
        >>> accuracy.update(rows)
        >>> accuracy.compute()
        {'accuracy': 0.5}
    """

    def __init__(
        self,
        metric: Any,
        names: str | Sequence[str] = ("label", "output"),
        *more: str,
        name: str | None = None,
    ) -> None:
        import keras

        if not isinstance(metric, keras.metrics.Metric):
            msg = f"`metric` must be one of Keras, got {type(metric).__name__}"
            raise TypeError(msg)
        self.name = name or metric.name
        self.fetches = as_fields("names", names, more, different=False)
        self._metric = type(metric).from_config(metric.get_config())
        self.reset()

    def reset(self) -> None:
        self._metric.reset_state()
        self._rows = 0
        self._first: list[Any] = []  # the arguments for one row

    def update(self, rows: Rows) -> None:
        if len(rows["id"]):
            arguments = [rows[name] for name in self.fetches]
            self._metric.update_state(*arguments)
            self._first = self._first or [np.array(each[:1]) for each in arguments]
            self._rows += len(rows["id"])

    def state(self) -> State:
        import keras

        values = map(keras.ops.convert_to_numpy, self._metric.variables)
        copies = [np.array(value) for value in values]
        return {"rows": self._rows, "values": copies, "first": self._first}

    def merge(self, states: Sequence[State]) -> None:
        import keras

        for state in (state for state in states if state["rows"]):
            if not self._metric.variables:  # some metrics make them for the first batch
                self._metric.update_state(*state["first"])
                self._metric.reset_state()
            for variable, value in zip(self._metric.variables, state["values"], strict=True):
                if variable.aggregation != "sum":
                    msg = (
                        "`metric` must have variables that add up over workers, got "
                        f"{variable.name!r} with aggregation {variable.aggregation!r}"
                    )
                    raise ValueError(msg)
                variable.assign(keras.ops.convert_to_numpy(variable) + value)
            self._rows += state["rows"]

    def compute(self) -> Mapping[str, float] | None:
        if not self._rows:
            return None
        import keras

        result = keras.ops.convert_to_numpy(self._metric.result())
        return {self.name: float(result) if result.size == 1 else result}
