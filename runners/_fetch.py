"""From a batch and the model's outputs to the rows that an inferencer takes."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, final

import numpy as np

from milepost.errors import unknown_name
from milepost.inferencers import Inferencer, Rows
from milepost.predictors import to_numpy
from milepost.runners._batch import Batch


class Fetched(NamedTuple):
    """A batch and its fetched arrays, by the name under which they were fetched."""

    batch: Batch
    arrays: Mapping[str, Any]


@final
class Fetches:
    """The names that the inferencers of a runner fetch, and where each is found.

    A name is looked up in the batch and in the outputs of the model; `"batch.x"` and `"model.x"`
    say where.
    """

    def __init__(self, inferencers: Iterable[Inferencer]) -> None:
        self._names = tuple(dict.fromkeys(n for i in inferencers for n in i.fetches))

    def outputs(self, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names to ask the model for, given the fields of a batch."""
        sources = [_locate(name, fields) for name in self._names]
        return tuple(dict.fromkeys(key for key, in_batch in sources if not in_batch))

    def pick(self, batch: Batch, outputs: Mapping[str, Any], own_outputs: Iterable[str]) -> Fetched:
        """Return what was fetched.

        Args:
            batch: the batch.
            outputs: what the model gave for what `outputs` asked.
            own_outputs: the names of all the model's own outputs.

        Raises:
            UnknownNameError: a field is not in the batch.
            ValueError: a name is both a field and an output.
        """
        arrays = {}
        for name in self._names:
            key, in_batch = _locate(name, batch.fields)
            if in_batch and key == name and name in own_outputs:
                msg = (
                    f"{name!r} is both a field of the batch and an output of the model; fetch "
                    f"'batch.{name}' or 'model.{name}'"
                )
                raise ValueError(msg)
            found = batch.fields if in_batch else outputs
            if key not in found:
                raise unknown_name("field or output", key, {*batch.fields, *own_outputs})
            arrays[name] = found[key]
        return Fetched(batch, arrays)


def _locate(name: str, fields: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the key of a fetched name, and whether it is one of the batch."""
    place, _, rest = name.partition(".")
    if rest and place in ("batch", "model") and name not in fields:
        return rest, place == "batch"
    return name, name in fields


def deliver(fetched: Fetched, inferencers: Iterable[Inferencer]) -> None:
    """Hand the rows to each inferencer that looks at their role.

    Raises:
        ValueError: a fetched array does not have one row for each row of the batch.
    """
    batch, arrays = fetched
    count = len(batch)
    native = {name: _as_rows(name, value, count) for name, value in arrays.items()}
    numpy: dict[str, Any] = {}
    always = {"id": batch.ids, "role": np.full(count, batch.role)}
    for inferencer in inferencers:
        if batch.role not in inferencer.roles:
            continue
        rows: dict[str, Any] = {}
        for name in inferencer.fetches:
            if inferencer.arrays == "numpy" and name not in numpy:
                numpy[name] = to_numpy(native[name])
            rows[name] = (numpy if inferencer.arrays == "numpy" else native)[name]
        view: Rows = {**rows, **always}
        inferencer.update(view)


def _as_rows(name: str, value: Any, count: int) -> Any:
    """Return a fetched value as an array of `count` rows; a lone number stands for each row."""
    array = value if hasattr(value, "shape") else np.asarray(value)
    if len(array.shape) == 0:
        return np.full(count, to_numpy(array))
    if array.shape[0] != count:
        msg = (
            f"the fetched array {name!r} must have one row for each of the {count} samples of its "
            f"batch, got shape {tuple(array.shape)}"
        )
        raise ValueError(msg)
    return array
