"""What is logged: the result of one evaluation, or scalars of the training."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, TypeAlias, final

Table: TypeAlias = Mapping[str, Any]
"""Columns by name: arrays of equal length, of one or two axes, of numbers, booleans or strings."""


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
            its monitors takes tables or confidence intervals are asked for.
        columns: by table, which of its columns hold a metric of single rows, and its full name.

    Raises:
        ValueError: a scalar or a timing has the name of another field.
    """

    scalars: Mapping[str, float]
    runner: str | None = None
    step: int | None = None
    epoch: int | None = None
    elapsed_s: float | None = None
    time: float = dataclasses.field(default_factory=time.time)
    timings: Mapping[str, float] = dataclasses.field(default_factory=dict)
    error: str | None = None
    tables: Mapping[str, Table] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    columns: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if _FIELDS.isdisjoint(self.scalars) and _FIELDS.isdisjoint(self.timings):
            return
        taken = sorted(_FIELDS.intersection([*self.scalars, *self.timings]))
        msg = f"`scalars` may not use the names of a record's own fields, got {taken}; rename them"
        raise ValueError(msg)


_FIELDS = frozenset({"runner", "step", "epoch", "elapsed_s", "time", "error"})
