"""The embeddings of samples, with their labels and ids, as a model gives them."""

from collections.abc import Callable
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from milepost.errors import NonFiniteError
from milepost.inferencers import Rows
from milepost.neighbors import backend_of, unit_rows
from milepost.predictors import to_numpy

Column: TypeAlias = Any
"""The name of a field of the batches, or values, one for each sample; None: there is none."""


@final
class Embedded:
    """Takes what a model gives, batch by batch.

    Args:
        output: the output that is the embedding.
        normalize: whether to scale embeddings to length 1; one of zeros stays.
        labels: where the samples' labels are.
        ids: where their ids are.
        sink: takes the embeddings of each batch; None: they are kept.

    Attributes:
        fetches: what to fetch of the batches and the model.
        label_sums: float64, the sum of the embeddings of each label.
    """

    def __init__(
        self,
        output: str,
        *,
        normalize: bool,
        labels: Column = None,
        ids: Column = None,
        sink: Callable[[Any], None] | None = None,
    ) -> None:
        self._output = f"model.{output}"
        self._normalize = normalize
        self._columns = {"labels": _Values("labels", labels), "ids": _Values("ids", ids)}
        self._parts: list[Any] = []
        self._sink = sink or self._parts.append
        self._count = 0
        fields = (column.field for column in self._columns.values())
        self.fetches = (self._output, *(f"batch.{field}" for field in fields if field))
        self.label_sums: dict[Any, npt.NDArray[np.float64]] = {}

    def take(self, rows: Rows) -> None:
        """Take one batch.

        Raises:
            NonFiniteError: an embedding is NaN or infinite.
            ValueError: embeddings are no matrix, or labels or ids are too few.
        """
        embeddings = self._checked(rows)
        stop = self._count + len(embeddings)
        for column in self._columns.values():
            column.take(rows, self._count, stop)
        self._count = stop
        self._sink(embeddings)
        self._add_to_sums(embeddings)

    def _checked(self, rows: Rows) -> Any:
        backend = backend_of(rows[self._output])
        embeddings = backend.rows32(rows[self._output])
        if embeddings.ndim != 2:
            msg = (
                f"the embeddings {self._output!r} must have shape (samples, dimension), got "
                f"{tuple(embeddings.shape)}; flatten them in an `embedder`"
            )
            raise ValueError(msg)
        bad = ~backend.numpy(backend.finite_rows(embeddings))
        if bad.any():
            first = ", ".join(map(str, rows["id"][bad][:5].tolist()))
            msg = f"embeddings are NaN or infinite, {bad.sum()} in a batch; the first ids: {first}"
            raise NonFiniteError(msg)
        return unit_rows(embeddings, backend) if self._normalize else embeddings

    def _add_to_sums(self, embeddings: Any) -> None:
        parts = self._columns["labels"].parts
        if not parts:
            return
        distinct, codes = np.unique(parts[-1], return_inverse=True)
        sums = np.zeros((len(distinct), embeddings.shape[1]))
        np.add.at(sums, codes, backend_of(embeddings).numpy(embeddings))
        for label, total in zip(distinct.tolist(), sums, strict=True):
            self.label_sums[label] = self.label_sums.get(label, 0.0) + total

    def finish(self, count: int) -> None:
        """Check that there was a sample, and one label and id for each.

        Raises:
            ValueError: there was not.
        """
        if not count:
            msg = "`data` holds no samples"
            raise ValueError(msg)
        for column in self._columns.values():
            column.finish(count)

    @property
    def embeddings(self) -> Any:
        """The embeddings that were kept, (N, d)."""
        return backend_of(self._parts[0]).concat(self._parts, axis=0)

    def column(self, name: str) -> npt.NDArray[Any] | None:
        """Return the labels or the ids, (N,); None if there are none."""
        parts = self._columns[name].parts
        return np.concatenate(parts) if parts else None


class _Values:
    """One value for each sample: a field of the batches, or given from outside."""

    def __init__(self, name: str, given: Column) -> None:
        self.field = given if isinstance(given, str) else None
        self.parts: list[npt.NDArray[Any]] = []
        self._name = name
        self._given = None if given is None or self.field else _vector(name, to_numpy(given))

    def take(self, rows: Rows, start: int, stop: int) -> None:
        if self.field:
            self.parts.append(_vector(self._name, to_numpy(rows[f"batch.{self.field}"])))
        elif self._given is not None:
            if stop > len(self._given):
                raise _wrong_count(self._name, len(self._given), f"{stop} or more")
            self.parts.append(self._given[start:stop])

    def finish(self, count: int) -> None:
        if self._given is not None and len(self._given) != count:
            raise _wrong_count(self._name, len(self._given), str(count))


def _wrong_count(name: str, given: int, samples: str) -> ValueError:
    return ValueError(f"`{name}` must have one for each of the {samples} samples, got {given}")


def _vector(name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return labels or ids of shape (N,) or (N, 1) as a vector."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or values.dtype.kind not in "biufUS":
        msg = (
            f"`{name}` must be numbers or strings of shape (samples,), got {values.dtype} "
            f"{values.shape}"
        )
        raise ValueError(msg)
    return values
