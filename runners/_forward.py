"""One forward pass a batch, in smaller pieces where memory does not suffice."""

from collections.abc import Sequence
from typing import final

from milepost.errors import UnknownNameError
from milepost.inferencers import Inferencer
from milepost.predictors import Predictor
from milepost.runners._arguments import check_row_roles
from milepost.runners._batch import Batch
from milepost.runners._cache import CachedForward, run_model
from milepost.runners._fetch import Fetched, Fetches


@final
class Forward:
    """Runs a batch through a predictor and picks what the inferencers of its role fetch.

    Out of memory halves the batch and tries again; the batches that follow are cut to the size
    that fitted. A sharded model's batches are not cut: all ranks would have to.
    """

    def __init__(
        self,
        predictor: Predictor,
        inferencers: Sequence[Inferencer],
        cached: CachedForward | None = None,
    ) -> None:
        self._predictor = predictor
        self._run_model = cached or run_model
        self._inferencers = inferencers
        self._roles: dict[str | None, tuple[Predictor, Fetches]] = {}
        self._most: int | None = None

    def __call__(self, batch: Batch) -> list[Fetched]:
        if self._most is not None and len(batch) > self._most:
            return [fetched for piece in batch.split(self._most) for fetched in self(piece)]
        try:
            return [self._run(batch)]
        except Exception as error:
            whole = len(batch) == 1 or self._predictor.is_sharded
            if whole or not _is_out_of_memory(error):
                raise
        self._most = (len(batch) + 1) // 2
        return self(batch)

    def _run(self, batch: Batch) -> Fetched:
        predictor, fetches = self._plan(batch)
        try:
            outputs, own_outputs = self._run_model(predictor, batch)
        except UnknownNameError as error:
            if error.name not in fetches.outputs:
                raise
            raise fetches.unknown_output(error, batch) from error
        return fetches.pick(batch, outputs, own_outputs)

    def _plan(self, batch: Batch) -> tuple[Predictor, Fetches]:
        """Return the predictor and the fetches of a batch's role, made for its first batch."""
        role = batch.role if batch.roles is None else None  # any
        if batch.roles is not None:
            check_row_roles(batch.roles, batch.ids, self._inferencers)
        if role not in self._roles:
            looking = [each for each in self._inferencers if role is None or role in each.roles]
            fetches = Fetches(looking, batch, self._predictor)
            predictor = self._predictor.fetching(fetches.outputs or None, inputs=batch.inputs)
            self._roles[role] = predictor, fetches
        return self._roles[role]


def _is_out_of_memory(error: Exception) -> bool:
    """Tell it of a device's memory and of the host's, in any framework."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ in ("OutOfMemoryError", "ResourceExhaustedError")
        or "can't allocate memory" in str(error)
    )
