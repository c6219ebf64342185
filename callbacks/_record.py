"""What is logged: the result of one evaluation, or scalars and pictures of the training."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, TypeAlias, final

import numpy as np

Table: TypeAlias = Mapping[str, Any]
"""Columns by name: arrays of equal length, of one or two axes, of numbers, booleans or strings.

A column of files, such as pictures, is an array of objects of one axis that holds `bytes`.
"""

Array: TypeAlias = np.ndarray[Any, Any]


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One entry of the log.

    A step is named by how many were completed: the weights of step 0 are the initial ones.

    Args:
        runner: who made it; None for scalars that the training loop logged.
        step: steps completed.
        epoch: epochs completed.
        elapsed_s: seconds of training so far, those before a resume included.
        time: seconds since the Unix epoch.
        scalars: values by full name, such as `"validation/hit_rate@1"`.
        timings: what the evaluation cost, by full name, such as `"validation/time/load_s"`.
        error: why the evaluation failed; None if it did not.
        tables: the evidence, as `"<inferencer>/<table>"`; on the chief alone, and only if one of
            its monitors or callbacks takes tables or confidence intervals are asked for.
        columns: by table, which of its columns hold a metric of single rows, and its full name.
        coverage: how many samples of each role were examined, each exactly once.
        pictures: by full name, such as `"validation/roc"`: RGB of shape (height, width, 3), uint8.
        histograms: by full name: the values whose distribution is shown, of shape (N,), floats.

    Raises:
        ValueError: a scalar or a timing has the name of another field, or a picture or histogram
            that of a scalar.
        TypeError: a picture or histogram is no such array.
    """

    scalars: Mapping[str, float] = dataclasses.field(default_factory=dict)
    runner: str | None = None
    step: int | None = None
    epoch: int | None = None
    elapsed_s: float | None = None
    time: float = dataclasses.field(default_factory=time.time)
    timings: Mapping[str, float] = dataclasses.field(default_factory=dict)
    error: str | None = None
    tables: Mapping[str, Table] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    columns: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict, repr=False)
    coverage: Mapping[str, int] = dataclasses.field(default_factory=dict)
    pictures: Mapping[str, Array] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )
    histograms: Mapping[str, Array] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.pictures or self.histograms:
            self._check_arrays()
        if _FIELDS.isdisjoint(self.scalars) and _FIELDS.isdisjoint(self.timings):
            return
        taken = sorted(_FIELDS.intersection([*self.scalars, *self.timings]))
        msg = f"`scalars` may not use the names of a record's own fields, got {taken}; rename them"
        raise ValueError(msg)

    @property
    def is_visual(self) -> bool:
        """Whether it holds pictures or histograms and nothing that text can hold."""
        is_shown = bool(self.pictures or self.histograms)
        return is_shown and not (self.scalars or self.timings or self.error)

    def _check_arrays(self) -> None:
        names = [*_FIELDS, *self.scalars, *self.timings, *self.pictures, *self.histograms]
        if len(names) > len(set(names)):
            twice = sorted({name for name in names if names.count(name) > 1})
            msg = f"`pictures` and `histograms` must have names of their own, got {twice}"
            raise ValueError(msg)
        for name, picture in self.pictures.items():
            if picture.dtype != np.uint8 or picture.shape[2:] != (3,) or not picture.size:
                msg = f"`pictures` must be uint8 of shape (height, width, 3), got {name!r} "
                raise TypeError(msg + f"of {picture.dtype} and shape {picture.shape}")
        for name, values in self.histograms.items():
            if values.dtype.kind != "f" or values.ndim != 1:
                msg = f"`histograms` must be floats of shape (N,), got {name!r} "
                raise TypeError(msg + f"of {values.dtype} and shape {values.shape}")


_FIELDS = frozenset({"runner", "step", "epoch", "elapsed_s", "time", "error"})
