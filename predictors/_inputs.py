"""Which entries of a batch go to a model, and how: by position or by keyword."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any

from milepost import errors


@dataclasses.dataclass(frozen=True)
class Call:
    """The names of a batch's entries that are passed by position and by keyword.

    `structure`, nested lists and dicts of names, is passed as the only argument in their place.
    """

    positional: tuple[str, ...] = ()
    keyword: tuple[str, ...] = ()
    structure: Any = None

    def arguments(
        self, batch: Mapping[str, Any], convert: Callable[[Any], Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a call, each entry of the batch converted."""
        if self.structure is not None:
            return [_filled(self.structure, batch, convert)], {}
        positional = [convert(batch[name]) for name in self.positional]
        return positional, {name: convert(batch[name]) for name in self.keyword}


def parameters_of(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    """Return the parameters of a function, empty where Python cannot tell."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # built in, or scripted
        return {}


def plan_call(
    parameters: Mapping[str, Parameter],
    names: Sequence[str],
    inputs: Sequence[str] | None,
    *,
    as_dict: bool = False,
) -> Call:
    """Return how a batch is passed to a model.

    Args:
        parameters: those of the model's forward pass.
        names: the names of the batch's entries.
        inputs: the entries that were asked for; None: a lone entry, or those that the parameters
            name.
        as_dict: whether several inputs for a single parameter are passed as a dict.

    Raises:
        UnknownNameError: an input is not in the batch.
        ValueError: the parameters do not say which entries are meant.
    """
    if inputs is None:
        return Call((names[0],)) if len(names) == 1 else _matched(parameters, names)
    for name in inputs:
        if name not in names:
            raise errors.unknown_name("input", name, names)
    by_keyword = all(_takes_keyword(parameters.get(name)) for name in inputs)
    if by_keyword:
        return Call(keyword=tuple(inputs))
    if as_dict and len(inputs) > 1 and _takes_one(parameters):
        return Call(structure={name: name for name in inputs})
    return Call(positional=tuple(inputs))


def lone(batch: Any) -> Any:
    """Return a batch that is one array.

    Raises:
        TypeError: it is a tuple or list.
    """
    if isinstance(batch, tuple | list):
        msg = (
            f"`batch` must be a mapping of names to arrays, or one array, got "
            f"{type(batch).__name__}; name its elements, for example {{'image': batch[0]}}"
        )
        raise TypeError(msg)
    return batch


def _matched(parameters: Mapping[str, Parameter], names: Sequence[str]) -> Call:
    single = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    }
    matched = [name for name in single if name in names]
    required = [name for name, parameter in single.items() if parameter.default is Parameter.empty]
    if not matched or not set(required) <= set(matched):
        msg = (
            f"the model takes {_listed(single)} (required: {_listed(required)}), "
            f"but the batch has {_listed(names)}; "
            f"choose what goes to the model, for example `inputs=({names[0]!r},)`"
            if names
            else "the batch is empty"
        )
        raise ValueError(msg)
    positional = tuple(x for x in matched if single[x].kind is Parameter.POSITIONAL_ONLY)
    return Call(positional, tuple(x for x in matched if x not in positional))


def _takes_keyword(parameter: Parameter | None) -> bool:
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return parameter is not None and parameter.kind in kinds


def _takes_one(parameters: Mapping[str, Parameter]) -> bool:
    """Tell whether there is one parameter that is passed by position."""
    kinds = [parameter.kind for parameter in parameters.values()]
    taking = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return Parameter.VAR_POSITIONAL not in kinds and sum(kind in taking for kind in kinds) == 1


def _filled(structure: Any, batch: Mapping[str, Any], convert: Callable[[Any], Any]) -> Any:
    if isinstance(structure, str):
        return convert(batch[structure])
    if isinstance(structure, Mapping):
        return {key: _filled(part, batch, convert) for key, part in structure.items()}
    return type(structure)(_filled(part, batch, convert) for part in structure)


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(map(repr, names)) or "none"
