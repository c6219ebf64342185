"""Samples in memory, as people hand them to a model: arrays, lists of arrays, texts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np

from milepost.predictors import to_numpy
from milepost.runners._batch import as_rows, count_rows
from milepost.runners._source import is_columns


@final
class InMemory:
    """Batches of samples in memory; texts stay lists of strings, for a model that tokenizes.

    Args:
        columns: arrays, or lists or tuples of arrays or strings, by name; one sample a row.
        batch_size: rows a batch.
    """

    def __init__(self, columns: Mapping[str, Any], batch_size: int) -> None:
        self._columns = columns
        self._batch_size = batch_size
        self.size = count_rows(columns)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, self.size, self._batch_size):
            rows = slice(start, start + self._batch_size)
            yield {name: _batch_of(value[rows]) for name, value in self._columns.items()}


def in_memory(data: Any, batch_size: int, name: str) -> InMemory | None:
    """Return samples in memory as batches; None for what is to be read as it is.

    Args:
        data: arrays by name, a lone array, or a list of arrays or texts.
        batch_size: rows a batch.
        name: of the field that samples without a name are.

    Raises:
        TypeError: a list holds something else than arrays or texts; or `data` is a lone text.
    """
    if isinstance(data, str):
        msg = "`data` must hold samples, got one text; pass a list of texts"
        raise TypeError(msg)
    if is_columns(data):
        return InMemory(data, batch_size)
    if hasattr(data, "shape"):
        return InMemory({name: data}, batch_size)
    if not isinstance(data, list | tuple):
        return None
    wrong = next((x for x in data if not (isinstance(x, str) or hasattr(x, "shape"))), None)
    if wrong is not None:
        msg = (
            "a list must hold arrays, tensors or texts, one for each sample, got "
            f"{type(wrong).__name__}; pass other samples as a torch Dataset or DataLoader"
        )
        raise TypeError(msg)
    return InMemory({name: data}, batch_size)


def _batch_of(values: Any) -> Any:
    """Return rows as one array, or as a list of strings."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "US":
        return values.tolist()
    if not isinstance(values, list | tuple):
        return values
    if isinstance(values[0], str):
        return list(values)
    return _stacked(values) if hasattr(values[0], "shape") else as_rows(values)


def _stacked(samples: Sequence[Any]) -> Any:
    shapes = {tuple(sample.shape) for sample in samples}
    if len(shapes) > 1:
        msg = f"samples of one batch must have one shape, got {sorted(shapes)}; use batch_size=1"
        raise ValueError(msg)
    if not type(samples[0]).__module__.startswith("torch"):
        return np.stack([to_numpy(sample) for sample in samples])
    from milepost.runners._torch_samples import stack

    return stack(samples)
