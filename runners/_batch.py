"""One batch of named fields, with the ids of its rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from milepost.errors import CoverageError, unknown_name
from milepost.predictors import to_numpy

DEFAULT_FIELDS = ("input", "label")


@dataclass(frozen=True)
class Batch:
    """Rows on their way to the model.

    Attributes:
        role: the role of the source, which all rows play unless `roles` says otherwise.
        ids: one id a row, shape (N,): positions in the source, or the field `"id"`.
        fields: what the source gave, by name.
        inputs: the fields that go to the model where the user does not say; None leaves it to the
            model's signature.
        roles: the role of each row, shape (N,), where a field of the batch says it.
        is_spare: whether it only keeps the forward passes of a sharded model in step; what comes
            out is thrown away.
    """

    role: str
    ids: np.ndarray[Any, Any]
    fields: Mapping[str, Any]
    inputs: tuple[str, ...] | None
    roles: np.ndarray[Any, Any] | None = None
    is_spare: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def split(self, most: int) -> Iterator[Self]:
        """Give the rows again in batches of at most `most`.

        An array as long as the batch is taken for one of rows.
        """
        for start in range(0, len(self), most):
            rows = slice(start, start + most)
            yield replace(
                self,
                ids=self.ids[rows],
                fields=_cut(self.fields, rows, len(self)),
                roles=None if self.roles is None else self.roles[rows],
            )


def name_fields(
    raw: Any, fields: Sequence[str] | None
) -> tuple[Mapping[str, Any], tuple[str, ...] | None]:
    """Return the fields of a raw batch by name, and the ones that go to the model by default.

    Args:
        raw: a mapping, a tuple or list of fields, or a lone array.
        fields: names for the elements of a tuple; None names one or two of them
            `("input", "label")`.

    Raises:
        ValueError: the names do not fit the elements.
        UnknownNameError: `fields` names what a mapping does not hold.
    """
    if isinstance(raw, Mapping):
        for name in fields or ():
            if name not in raw:
                raise unknown_name("field", name, raw)
        return raw, None
    elements: Sequence[Any] = raw if isinstance(raw, tuple | list) else (raw,)
    default: Sequence[str] = getattr(raw, "_fields", DEFAULT_FIELDS[: len(elements)])
    names = default if fields is None else fields
    if len(names) != len(elements):
        msg = (
            f"`fields` must name the {len(elements)} elements of a batch, got {tuple(names)}; "
            'pass for example fields=("image", "label", "id")'
        )
        raise ValueError(msg)
    return dict(zip(names, elements, strict=True)), (names[0],)


def _cut(value: Any, rows: slice, count: int) -> Any:
    """Return some rows of everything in a nested value that has `count` of them."""
    if isinstance(value, Mapping):
        return {name: _cut(part, rows, count) for name, part in value.items()}
    if _is_one_input(value):
        return tuple(_cut(part, rows, count) for part in value)
    return value[rows] if row_count(value) == count else value


def _is_one_input(value: Any) -> bool:
    """Tell whether a tuple holds not rows, but tensors that go to a model of Keras together."""
    return isinstance(value, tuple) and any(
        type(part).__module__.startswith("tensorflow.") for part in value
    )


def row_count(value: Any) -> int | None:
    """Return the length of an array's or a list's first axis; None for what has no rows."""
    if _is_one_input(value):
        return None
    shape: Sequence[int] | None = getattr(value, "shape", None)
    if shape is None:
        return len(value) if isinstance(value, list | tuple) else None
    return int(shape[0]) if len(shape) else None


def as_rows(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Return rows as an array; one of objects where they differ in length."""
    try:
        return np.asarray(values)
    except ValueError:
        rows = np.empty(len(values), object)
        for at, row in enumerate(values):
            rows[at] = row
        return rows


def count_rows(fields: Mapping[str, Any]) -> int:
    """Return how many rows a batch has.

    Raises:
        ValueError: no field has rows, or they disagree.
    """
    counts = {
        name: count for name, value in fields.items() if (count := row_count(value)) is not None
    }
    if len(set(counts.values())) != 1:
        msg = (
            "a batch must hold arrays with one first axis, its rows, got "
            + (
                ", ".join(f"{name}: {count}" for name, count in counts.items())
                or repr(dict(fields))
            )
            + "; a source of single samples is to be a torch Dataset"
        )
        raise ValueError(msg)
    return next(iter(counts.values()))


def row_ids(
    fields: Mapping[str, Any], positions: np.ndarray[Any, Any] | None, start: int
) -> np.ndarray[Any, Any]:
    """Return the ids of a batch's rows: its field `"id"`, else their positions in the source.

    Args:
        fields: the batch.
        positions: where the rows stand in the source, if that is known.
        start: the position of the first row where `positions` is None.

    Returns:
        int64 or strings, shape (N,).

    Raises:
        CoverageError: a collate function gave more or fewer rows than it was handed.
        ValueError: the field `"id"` is not a vector of integers or strings.
    """
    if "id" in fields:
        return _checked_ids(to_numpy(fields["id"]))
    if positions is None:
        return np.arange(start, start + count_rows(fields))
    counts = {row_count(value) for value in fields.values()}
    if len(positions) not in counts:
        given_rows = max((count for count in counts if count is not None), default=0)
        msg = (
            f"a batch of {len(positions)} samples came back with {given_rows} rows; a collate "
            "function that drops or adds rows must give a field `id`"
        )
        raise CoverageError(msg)
    return positions


def _checked_ids(ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return ids as int64 or strings, so that equal ids are equal whatever type they came in."""
    if ids.ndim == 1 and ids.dtype.kind == "S":
        return np.char.decode(ids)
    if ids.ndim == 1 and ids.dtype.kind == "u" and ids.max(initial=0) <= np.iinfo(np.int64).max:
        return ids.astype(np.int64)
    if ids.ndim == 1 and ids.dtype.kind in "iU":
        return ids.astype(np.int64) if ids.dtype.kind == "i" else ids
    msg = f"the field `id` must be 64-bit integers or strings (N,), got {ids.dtype} {ids.shape}"
    raise ValueError(msg)


def row_roles(fields: Mapping[str, Any], count: int) -> np.ndarray[Any, Any] | None:
    """Return the role of each of `count` rows: the field `"role"`; None if there is none.

    Raises:
        ValueError: it does not hold one name for each row.
    """
    if "role" not in fields:
        return None
    roles = to_numpy(fields["role"])
    if roles.dtype.kind in "SO":
        roles = np.array([x.decode() if isinstance(x, bytes) else x for x in roles.tolist()])
    if roles.dtype.kind != "U" or roles.shape != (count,):
        msg = (
            f"the field `role` must hold one name, such as 'query' or 'gallery', for each of the "
            f"{count} rows of a batch, got {roles.dtype} {roles.shape}"
        )
        raise ValueError(msg)
    return roles


def first_row(fields: Mapping[str, Any]) -> bytes:
    """Return what tells this batch from another: its number of rows, and what is in its first."""
    parts = [to_numpy(_held(value))[:1] for value in fields.values() if row_count(value)]
    content = [part.tobytes() if part.dtype != object else repr(part).encode() for part in parts]
    return b"|".join([str(count_rows(fields)).encode(), *content])


def _held(value: Any) -> Any:
    """Return a list as an array, a ragged or sparse tensor's numbers, or the value as it is."""
    if isinstance(value, list):
        return as_rows(value)
    if hasattr(value, "flat_values"):
        return value.flat_values
    return value.values if hasattr(value, "dense_shape") else value
