"""Any metric of torchmetrics as an inferencer."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, final

from milepost.errors import missing_extra
from milepost.inferencers._fields import as_fields
from milepost.inferencers._inferencer import Inferencer, Rows, State
from milepost.neighbors import backend_of


@final
class TorchMetric(Inferencer):
    """A metric, or a collection of metrics, of torchmetrics.

    It runs on a copy, on the device of what it is given; the metric that is passed is not touched.
    Each batch is handed to `update`; workers are merged through the metric's state, by the
    reduction that the metric declares for it: never by a synchronisation of its own. Where a metric
    gives more than one number, as with `average=None`, a `ClasswiseWrapper` names them.

    Whether the result depends on the batch size or the order is the metric's affair: those that
    add up counts or keep all values do not, but for rounding. An empty run gives no metric.
    Memory: that of the metric; one that keeps all values keeps those of all workers on each.

    Args:
        metric: a `torchmetrics.Metric` or `MetricCollection`.
        names: the field or output for the first argument of its `update`, or a sequence of those
            for all, in order. Numbers come as tensors, strings as a list.
        *more: those for the further arguments.
        name: the name of the metric's value, where that has no name of its own; by default that of
            its class, such as `multiclass_accuracy`.

    Raises:
        TypeError: `metric` is none of torchmetrics.
        ImportError: torchmetrics is not installed.
        ValueError: in a run with several workers: a state whose reduction is the mean, and which
            differs between them: the mean would count workers, not samples.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from torchmetrics.classification import MulticlassAccuracy
        >>> accuracy = TorchMetric(MulticlassAccuracy(num_classes=3, average="micro"))
        >>> accuracy.update(
        ...     {"id": np.arange(2), "output": torch.eye(3)[:2], "label": torch.tensor([0, 2])}
        ... )
        >>> accuracy.compute()
        {'multiclass_accuracy': 0.5}
    """

    arrays: ClassVar[Literal["numpy", "native"]] = "native"

    def __init__(
        self,
        metric: Any,
        names: str | Sequence[str] = ("output", "label"),
        *more: str,
        name: str | None = None,
    ) -> None:
        self._given = _named(metric)
        self.name = name or _snake_case(type(metric).__name__)
        self.fetches = as_fields("names", names, more, different=False)
        self.reset()

    def reset(self) -> None:
        self._metrics = {name: metric.clone() for name, metric in self._given.items()}
        for _, part in self._parts():
            part.reset()
            part.sync_on_compute = part._to_sync = False  # the runner merges

    def update(self, rows: Rows) -> None:
        import torch

        if not len(rows["id"]):
            return
        arguments = [_argument(rows[name]) for name in self.fetches]
        devices = [each.device for each in arguments if isinstance(each, torch.Tensor)]
        for metric in self._metrics.values():
            if devices and metric.device != devices[0]:
                metric.to(devices[0])
            with torch.no_grad():
                metric.update(*arguments)

    def state(self) -> State:
        return {
            path: {
                "updates": part._update_count,
                **{key: _on_cpu(getattr(part, key)) for key in part._defaults},
            }
            for path, part in self._parts()
        }

    def merge(self, states: Sequence[State]) -> None:
        own = self.state()
        for path, part in self._parts():
            states_of = [state[path] for state in (own, *states) if state[path]["updates"]]
            if len(states_of) > (own[path]["updates"] > 0):
                for key, reduction in part._reductions.items():
                    values = [state[key] for state in states_of]
                    setattr(part, key, _to(part.device, _reduced(part, key, values, reduction)))
                part._update_count = sum(state["updates"] for state in states_of)
                part._computed = None

    def compute(self) -> Mapping[str, float] | None:
        if not any(part._update_count for _, part in self._parts()):
            return None
        values: dict[str, Any] = {}
        for name, metric in self._metrics.items():
            found = metric.compute()
            values.update(found if isinstance(found, Mapping) else {name or self.name: found})
        return {name: _scalar(value) for name, value in values.items()}

    def _parts(self) -> Iterator[tuple[str, Any]]:
        """Give each metric with those that it wraps, by a path that is the same on all workers."""
        from torchmetrics import Metric

        for name, metric in self._metrics.items():
            for path, part in metric.named_modules(prefix=name):
                if isinstance(part, Metric):
                    yield path, part


def _named(metric: Any) -> dict[str, Any]:
    """Return the metrics of a collection by name, a lone one by an empty name."""
    try:
        from torchmetrics import Metric, MetricCollection
    except ModuleNotFoundError as error:
        raise missing_extra("torchmetrics", "torchmetrics") from error

    if isinstance(metric, MetricCollection):
        return dict(metric.items(keep_base=False, copy_state=False))
    if isinstance(metric, Metric):
        return {"": metric}
    msg = f"`metric` must be one of torchmetrics, got {type(metric).__name__}"
    raise TypeError(msg)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _argument(array: Any) -> Any:
    """Return numbers as a tensor, strings as a list."""
    import torch

    if isinstance(array, torch.Tensor):
        return array.detach()
    array = backend_of(array).numpy(array)
    return array.tolist() if array.dtype.kind in "OUS" else torch.tensor(array)


def _on_cpu(value: Any) -> Any:
    return [x.detach().cpu() for x in value] if isinstance(value, list) else value.cpu().clone()


def _to(device: Any, value: Any) -> Any:
    return [x.to(device) for x in value] if isinstance(value, list) else value.to(device)


def _reduced(part: Any, key: str, values: list[Any], reduction: Any) -> Any:
    """Return one value of a state from those of all workers."""
    import torch
    from torchmetrics.utilities import dim_zero_mean

    if isinstance(values[0], list):
        return [each for value in values for each in value]
    if reduction is dim_zero_mean:
        if any(not torch.equal(value, values[0]) for value in values):
            msg = (
                f"`metric` must have states that add up over workers, got {type(part).__name__} "
                f"with a mean of {key!r}; let one process evaluate, or wrap a metric of sums"
            )
            raise ValueError(msg)
        return values[0]
    if len(values) == 1:
        return values[0]
    stacked = torch.cat(values) if _is_joined(reduction) else torch.stack(values)
    return stacked if reduction is None or _is_joined(reduction) else reduction(stacked)


def _is_joined(reduction: Any) -> bool:
    from torchmetrics.utilities import dim_zero_cat

    return reduction is dim_zero_cat


def _scalar(value: Any) -> Any:
    """Return a tensor of one number as a number, anything else as it is."""
    numel = getattr(value, "numel", None)
    return value.item() if numel is not None and numel() == 1 else value
