"""What the outputs of a model are called, and how one is found by its name or position."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from milepost import errors


def named(value: Any) -> dict[str, Any]:
    """Return the parts of what a model or module returned, by name.

    Example:
        >>> named({"logits": 1, "embedding": 2})
        {'logits': 1, 'embedding': 2}
        >>> named((1, 2))
        {'0': 1, '1': 2}
        >>> named(1)
        {'output': 1}
    """
    if isinstance(value, Mapping):
        return {str(name): part for name, part in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        fields = getattr(value, "_fields", map(str, range(len(value))))
        return dict(zip(fields, value, strict=True))
    return {"output": value}


Captured = dict[str, dict[str, Any]]
"""The parts of the outputs of inner modules, by the names that were asked for."""


def inner_outputs(names: Iterable[str], captured: Captured) -> dict[str, Any]:
    """Return the captured outputs by name, without those whose part does not exist.

    Raises:
        ValueError: a module did not run, or gave several outputs of which none was chosen.
    """
    outputs: dict[str, Any] = {}
    for name in names:
        if name not in captured:
            msg = f"inner module {name!r} did not run in this forward pass"
            raise ValueError(msg)
        parts = captured[name]
        if len(parts) > 1:
            choices = ", ".join(repr(f"{name}.{part}") for part in parts)
            msg = f"inner module {name!r} gave several outputs; choose one: {choices}"
            raise ValueError(msg)
        if parts:
            (outputs[name],) = parts.values()
    return outputs


def from_forward(outputs: Any) -> dict[str, Any]:
    """Return what a user's `forward` gave, by name.

    Raises:
        TypeError: it gave no mapping.
    """
    if not isinstance(outputs, Mapping):
        msg = (
            "`forward` must return a mapping of output names to tensors, "
            f"got {type(outputs).__name__}"
        )
        raise TypeError(msg)
    return named(outputs)


def select(
    own: Mapping[str, Any],
    inner: Mapping[str, Any],
    wanted: Iterable[str | int],
    modules: Iterable[str],
) -> dict[str, Any]:
    """Return the wanted outputs.

    A name is looked for in the model's own outputs, then among inner modules, then inside the
    model's own outputs, and is at last taken for a position.

    Args:
        own: the model's own outputs.
        inner: the outputs of the inner modules among the wanted.
        wanted: names and positions.
        modules: the names of all inner modules, for the message.

    Raises:
        UnknownNameError: there is no such output.
    """
    chosen: dict[str, Any] = {}
    for wish in wanted:
        name = str(wish)
        if wish in own:
            chosen[name] = own[name]
        elif wish in inner:
            chosen[name] = inner[name]
        elif found := _inside(own, name) or _position(own, name):
            (chosen[name],) = found
        else:
            raise errors.unknown_name("output", name, [*own, *modules])
    return chosen


def _inside(own: Mapping[str, Any], name: str) -> list[Any]:
    """Return the one entry of a nested output that a name stands for, if there is one."""
    head, _, tail = name.rpartition(".")
    parts = named(own[head]) if head in own else {}
    return [parts[tail]] if tail in parts else []


def _position(own: Mapping[str, Any], name: str) -> list[Any]:
    """Return the one output at the position that a name stands for, if there is one."""
    return list(own.values())[int(name) :][:1] if name.isdecimal() else []
