"""What to compute: the contracts that every inferencer keeps.

N is the number of rows of a batch. A row is one sample of the data; its id is unique in its role.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from milepost.inferencers._evidence import Over, unit_table, weighted_means

Rows: TypeAlias = Mapping[str, Any]
"""Arrays by name that share their first axis; `"id"` and `"role"` are always there."""

State: TypeAlias = Mapping[str, Any]
"""Totals by name: small, picklable, and such that those of two workers can be added."""

Table: TypeAlias = Mapping[str, Any]
"""Columns by name: arrays of equal length, of one or two axes, of numbers, booleans or strings.

A column of files, such as pictures, is an array of objects of one axis that holds `bytes`.
"""


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
        keep_evidence: whether `evidence` will be asked for; the runner sets it before a run, so
            that what is kept for it alone costs nothing where nobody takes it.
        earlier_runs: how many runs before this one had their evidence taken, in the training that
            goes on; the runner sets it before a run, so that what does not change is given once.
        will_resample: what will be drawn where `resampled` will be asked for, of what `evidence`
            gave; None where it will not be. The runner sets it before a run.
        step: steps of the training that are completed; the runner sets it before a run.
    """

    name: str
    fetches: tuple[str, ...]
    roles: tuple[str, ...] = ("query",)
    keep_evidence: bool = False
    earlier_runs: int = 0
    will_resample: Over | None = None
    step: int = 0
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
        """Return what lies behind the metrics: per-query values, curves, matrices.

        It is asked for once totals are merged, of every worker. A table with a column `id` holds
        this worker's rows, one or more a sample; the runner joins those of all workers, sorted by
        id and, where there is a column `role`, by role. Any other table is whole, and the same on
        every worker.

        A table `"queries"` or `"samples"` has one row for each. A column of a metric's name holds
        the metric of that row, NaN where the row does not count; `label` and `group`, where there
        are such, are what rows that depend on one another share.
        """
        return {}

    def resampled(
        self, tables: Mapping[str, Table], weights: npt.NDArray[np.float64], over: Over
    ) -> Mapping[str, npt.NDArray[np.float64]]:
        """Return the metrics that other samples would have given, for confidence intervals.

        By default the weighted mean of each column of the table `"queries"`, or else `"samples"`,
        NaN not counted. An inferencer whose metrics are other than means over rows says here what
        they are. With weights of 1 they are those of `compute`.

        Args:
            tables: the evidence of all workers, joined.
            weights: shape (B, R), how often each of the R rows of that table counts in each of B
                resamples; whole numbers.
            over: what was drawn: single rows (`"query"`), or all rows of one `label` (`"class"`)
                or `group`, whose weights are then equal.

        Returns:
            shape (B,) by name, as in `compute`; what is no such metric, or is left out, has no
            interval. What `<metric>/pairs` is, `Resamples` says.
        """
        return weighted_means(unit_table(tables), weights)


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

    roles: tuple[str, ...] = ("query", "gallery")
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
