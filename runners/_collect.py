"""What a model gives for data, batch by batch, with the accounting of an evaluation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from milepost.callbacks import Solo
from milepost.inferencers import Inferencer, Rows, State
from milepost.predictors import Predictor
from milepost.runners._arguments import check_loading
from milepost.runners._batch import DEFAULT_FIELDS
from milepost.runners._examination import Examination
from milepost.runners._feed import Feed
from milepost.runners._samples import in_memory
from milepost.runners._source import Loading, is_columns


def collect(
    predictor: Predictor,
    data: Any,
    fetches: Sequence[str],
    take: Callable[[Rows], None],
    *,
    fields: Sequence[str] | None = None,
    batch_size: int | None = None,
    num_workers: int = 0,
    prefetch: int = 2,
    timeout_s: float | None = None,
) -> int:
    """Run a model over data once, in this process, without a trace; return the number of samples.

    Args:
        predictor: the model under inference.
        data: what an `InferenceRunner` takes as one source; or samples in memory: an array or
            tensor, or a list of them or of texts, one sample a row.
        fetches: fields of the batch and outputs of the model, as for an inferencer.
        take: is handed what was fetched, a batch at a time, in order, in the framework's own
            tensors; `"id"` and `"role"` are with it.
        fields: names for the elements of tuple batches; samples without a name are the first.
        batch_size: rows a batch; None: the loader's own, else 64.
        num_workers: worker processes of a torch loader.
        prefetch: batches that are loaded ahead of the model; not for samples in memory.
        timeout_s: how long to wait for a batch; None waits for ever.

    Raises:
        CoverageError: not every declared sample was seen exactly once.
        TypeError: nothing is known that reads such data.

    Example:
        >>> import numpy as np
        >>> from milepost.predictors import get_predictor
        >>> losses = {"loss": np.array([1.0, 2.0, 6.0])}
        >>> collect(get_predictor(None), losses, ["loss"], lambda rows: print(rows["loss"]))
        [1. 2. 6.]
        3
    """
    check_loading(batch_size, num_workers, prefetch, timeout_s)
    loading = Loading(batch_size, num_workers, timeout_s)
    names = tuple(fields or DEFAULT_FIELDS)
    samples = in_memory(data, loading.rows_a_batch(None), names[0])
    taking = _Taking(fetches, take)
    Examination(
        Feed(
            {"query": data if samples is None else samples},
            fields=fields if samples is None or is_columns(data) else names[:1],
            size=None if samples is None else samples.size,
            loading=loading if samples is None else Loading(),
        ),
        [taking],
        lambda: predictor,
        Solo(),
        prefetch=prefetch if samples is None else 0,
        timeout_s=timeout_s,
        title="collect",
    ).run()
    return taking.count


@final
class _Taking(Inferencer):
    """Hands rows on."""

    name = "collect"
    arrays = "native"

    def __init__(self, fetches: Sequence[str], take: Callable[[Rows], None]) -> None:
        self.fetches = tuple(fetches)
        self.count = 0
        self._take = take

    def reset(self) -> None:
        self.count = 0

    def update(self, rows: Rows) -> None:
        self.count += len(rows["id"])
        self._take(rows)

    def state(self) -> State:
        return {}

    def merge(self, states: Sequence[State]) -> None:
        """Nothing is merged: there is one worker."""

    def compute(self) -> Mapping[str, float] | None:
        return None
