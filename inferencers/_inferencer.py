"""What to compute: the contracts that every inferencer keeps.

N is the number of rows of a batch. A row is one sample of the data; its id is unique in its role.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

Rows: TypeAlias = Mapping[str, Any]
"""Arrays by name that share their first axis; `"id"` and `"role"` are always there."""

State: TypeAlias = Mapping[str, Any]
"""Totals by name: small, picklable, and such that those of two workers can be added."""

Table: TypeAlias = Mapping[str, Any]
"""Columns by name, of equal length."""


class Inferencer(abc.ABC):
    """Turns the rows of one run into named scalars.

    It knows nothing of devices, processes or frameworks. Its result does not depend on the batch
    size or on the order in which batches arrive: it is computed over samples, never over batches.

    Attributes:
        name: prefixes its metrics where two inferencers of a runner would log the same name.
        fetches: what `update` needs: fields of the batch, outputs of the model, inner layers.
            `"batch.x"` and `"model.x"` choose where a name is in both; the prefix is part of the
            key that `update` sees.
        roles: the roles whose rows it is given; the data must hold the first.
        arrays: `"numpy"` to be given NumPy arrays (bfloat16 as float32), `"native"` to be given
            the framework's own tensors where the framework made them.
    """

    name: str
    fetches: tuple[str, ...]
    roles: tuple[str, ...] = ("query",)
    arrays: ClassVar[Literal["numpy", "native"]] = "numpy"

    @abc.abstractmethod
    def reset(self) -> None:
        """Forget everything: called before a run."""

    @abc.abstractmethod
    def update(self, rows: Rows) -> None:
        """Take one batch of rows, which may not be changed.

        Args:
            rows: the fetched arrays, shape (N, ...), `"id"` (N,) and `"role"` (N,).
        """

    @abc.abstractmethod
    def state(self) -> State:
        """Return the totals so far."""

    @abc.abstractmethod
    def merge(self, states: Sequence[State]) -> None:
        """Add the totals of other workers to this one's."""

    @abc.abstractmethod
    def compute(self) -> Mapping[str, float] | None:
        """Return the metrics of the run; None or an empty mapping if there is nothing to log."""

    def evidence(self) -> Mapping[str, Table]:
        """Return what lies behind the metrics: per-query values, curves, matrices."""
        return {}


class PairInferencer(Inferencer):
    """Compares every row with every row.

    After the batches, the runner merges the totals of all workers. Then, for each round, it calls
    `start_round`, hands every worker's rows, in worker order and in blocks, to `scan`, calls
    `end_round`, and merges totals again. Totals belong to a phase: `start_round` keeps what it
    needs of those of the phase before and starts new ones, so that a merge never adds a total
    twice.

    Attributes:
        shared_ids: whether a query and a gallery row with the same id are the same item; the
            runner sets it before a run.
        max_memory_bytes: what the comparison may use; None: a quarter of what is free. The runner
            sets it before a run.
    """

    roles = ("query", "gallery")
    shared_ids: bool = False
    max_memory_bytes: int | None = None

    @property
    @abc.abstractmethod
    def rounds(self) -> int:
        """How many passes over all rows this worker needs.

        Read before each round, when totals are merged: it may grow. The runner makes as many
        rounds as the neediest worker asks for.
        """

    @abc.abstractmethod
    def rows(self) -> Rows:
        """Return the rows that this worker collected, empty if there are none."""

    def start_round(self, round: int) -> None:
        """Prepare for a pass over all rows; totals are merged."""

    @abc.abstractmethod
    def scan(self, part: Rows, round: int) -> None:
        """Compare this worker's queries with rows of one worker.

        Args:
            part: rows as `rows` gives them, of this or another worker; one block of them.
            round: the number of the pass, from 0.
        """

    def end_round(self, round: int) -> None:
        """Finish a pass: bring the totals up to date."""
