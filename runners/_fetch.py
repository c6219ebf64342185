"""From a batch and the model's outputs to the rows that an inferencer takes."""

from collections.abc import Iterable, Mapping, Sequence, Set
from difflib import get_close_matches
from typing import Any, NamedTuple, final

import numpy as np

from milepost.errors import UnknownNameError, unknown_name
from milepost.inferencers import Inferencer
from milepost.predictors import Predictor, to_numpy
from milepost.runners._batch import Batch, as_rows

_ALWAYS = ("id", "role")


class Fetched(NamedTuple):
    """A batch and its fetched arrays, by the name under which they were fetched.

    `"id"` and `"role"` are always among them.
    """

    batch: Batch
    arrays: Mapping[str, Any]


@final
class Fetches:
    """The names that the inferencers fetch for one role, and where each is found.

    A name is looked up in the batch and in the model; one that is in both is an error, and
    `"batch.x"` and `"model.x"` choose.

    Args:
        inferencers: those that look at the role.
        first: the first batch of the role.
        predictor: the model under inference.
    """

    def __init__(
        self, inferencers: Iterable[Inferencer], first: Batch, predictor: Predictor
    ) -> None:
        self._inferencers = list(inferencers)
        names = dict.fromkeys(name for each in self._inferencers for name in each.fetches)
        self._from_batch: dict[str, str] = {}
        self._from_model: dict[str, str] = {}
        for name in names:
            place, _, rest = name.partition(".")
            if name in first.fields or (name in _ALWAYS and "." not in name):
                self._from_batch[name] = name
            elif not rest or place not in ("batch", "model") or predictor.has_inner(name):
                self._from_model[name] = name
            else:
                (self._from_batch if place == "batch" else self._from_model)[name] = rest
        for name, key in self._from_batch.items():  # before the model fails at single samples
            if key in first.fields and key not in _ALWAYS:
                _as_rows(name, first.fields[key], len(first))
        self._roles = _read_only(np.full(len(first), first.role))
        self._layers = {name for name in self._from_batch if predictor.has_inner(name)}

    @property
    def outputs(self) -> tuple[str, ...]:
        """What to ask the model for."""
        return tuple(dict.fromkeys(self._from_model.values()))

    def pick(self, batch: Batch, outputs: Mapping[str, Any], own_outputs: Sequence[str]) -> Fetched:
        """Return what was fetched.

        Args:
            batch: the batch.
            outputs: what the model gave for `outputs`.
            own_outputs: the names of all the model's own outputs.

        Raises:
            UnknownNameError: a field is not in the batch.
            ValueError: a name is both a field and an output, or an array lacks rows.
        """
        count = len(batch)
        if count > len(self._roles):
            self._roles = _read_only(np.full(count, batch.role))
        roles = self._roles[:count] if batch.roles is None else _read_only(batch.roles)
        arrays = {"id": batch.ids, "role": roles}
        for name, key in self._from_batch.items():
            if name == "role" or (key in _ALWAYS and key not in batch.fields):
                continue
            if key not in batch.fields:
                raise self._unknown(name, key, {*batch.fields, *own_outputs})
            if key == name and (name in own_outputs or name in self._layers):
                msg = (
                    f"{name!r} is both a field of the batch and an output or layer of the model; "
                    f"fetch 'batch.{name}' or 'model.{name}'"
                )
                raise ValueError(msg)
            arrays[name] = _as_rows(name, batch.fields[key], count)
        for name, key in self._from_model.items():
            if key not in outputs:
                raise self._unknown(name, key, {*batch.fields, *own_outputs})
            value = outputs[key]
            if len(getattr(value, "shape", (1,))) == 0:
                value = np.full(count, to_numpy(value))
            arrays[name] = _as_rows(name, value, count)
        return Fetched(batch, arrays)

    def unknown_output(self, error: UnknownNameError, batch: Batch) -> UnknownNameError:
        """Return the error for an output that the model lacks: it may be a field, misspelled."""
        fields = ", ".join(map(repr, batch.fields))
        nearest = get_close_matches(error.name, batch.fields, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
        names = {name for name, key in self._from_model.items() if key == error.name}
        who = self._who_fetches(names)
        return UnknownNameError(f"{error}. The batch has the fields {fields}{hint} {who}")

    def _unknown(self, name: str, key: str, known: Iterable[str]) -> UnknownNameError:
        error = unknown_name("field or output", key, known)
        return UnknownNameError(f"{error}. {self._who_fetches({name})}")

    def _who_fetches(self, names: Set[str]) -> str:
        who = [each.name for each in self._inferencers if not names.isdisjoint(each.fetches)]
        return f"It is fetched by {', '.join(who)}"


def deliver(fetched: Fetched, inferencers: Sequence[Inferencer]) -> None:
    """Hand the rows to each inferencer that looks at their role."""
    if fetched.batch.roles is None:
        _deliver(fetched.arrays, [x for x in inferencers if fetched.batch.role in x.roles])
        return
    for roles in dict.fromkeys(tuple(inferencer.roles) for inferencer in inferencers):
        looking = [inferencer for inferencer in inferencers if tuple(inferencer.roles) == roles]
        (rows,) = np.nonzero(np.isin(fetched.batch.roles, roles))
        if len(rows) == len(fetched.batch):
            _deliver(fetched.arrays, looking)
        elif len(rows):
            _deliver({name: _take(x, rows) for name, x in fetched.arrays.items()}, looking)


def _deliver(native: Mapping[str, Any], inferencers: Iterable[Inferencer]) -> None:
    """Hand the rows to inferencers."""
    numpy: dict[str, Any] = {}
    for inferencer in inferencers:
        rows = {"id": native["id"], "role": native["role"]}
        for name in inferencer.fetches:
            if name in rows:
                continue
            if inferencer.arrays == "numpy" and name not in numpy:
                numpy[name] = _read_only(to_numpy(native[name]))
            rows[name] = (numpy if inferencer.arrays == "numpy" else native)[name]
        try:
            inferencer.update(rows)
        except Exception as error:
            error.add_note(f"raised by the inferencer {inferencer.name!r}")
            raise


def _read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a view that cannot be written to: other inferencers are given the same array."""
    view = array.view()
    view.setflags(write=False)
    return view


def _take(array: Any, rows: np.ndarray[Any, Any]) -> Any:
    """Return the rows at some positions; of a tensor of TensorFlow, as NumPy."""
    if hasattr(array, "flat_values"):  # ragged
        return as_rows(array.to_list())[rows]
    return (array if hasattr(array, "index_select") else to_numpy(array))[rows]


def _as_rows(name: str, value: Any, count: int) -> Any:
    """Return a fetched value as an array of `count` rows."""
    array = value if hasattr(value, "shape") else as_rows(value)
    if not len(array.shape) or array.shape[0] != count:
        msg = (
            f"the fetched array {name!r} must have one row for each of the {count} samples of its "
            f"batch, got shape {tuple(array.shape)}"
        )
        if not len(array.shape):
            msg += "; a source of single samples is to be a torch Dataset or DataLoader"
        raise ValueError(msg)
    return array
