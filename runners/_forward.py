"""One forward pass a batch, in smaller pieces where memory does not suffice."""

from collections.abc import Iterator
from typing import final

from milepost.predictors import Predictor
from milepost.runners._batch import Batch
from milepost.runners._fetch import Fetched, Fetches


@final
class Forward:
    """Runs a batch through a predictor and picks what the inferencers fetch.

    Out of memory halves the batch and tries again; the batches that follow are cut to the size
    that fitted.
    """

    def __init__(self, predictor: Predictor, fetches: Fetches) -> None:
        self._predictor = predictor
        self._fetches = fetches
        self._most: int | None = None

    def __call__(self, batch: Batch) -> list[Fetched]:
        return [
            fetched
            for piece in batch.split(self._most or len(batch))
            for fetched in self._halving(piece)
        ]

    def _halving(self, batch: Batch) -> Iterator[Fetched]:
        try:
            outputs = self._predictor.forward(batch.fields)
        except Exception as error:
            if len(batch) == 1 or not _is_out_of_memory(error):
                raise
        else:
            yield self._fetches.pick(batch, outputs, self._predictor.own_outputs or ())
            return
        self._most = (len(batch) + 1) // 2
        for half in batch.split(self._most):
            yield from self._halving(half)


def _is_out_of_memory(error: Exception) -> bool:
    """Tell it of a device's memory and of the host's, in any framework."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ in ("OutOfMemoryError", "ResourceExhaustedError")
        or "can't allocate memory" in str(error)
    )
