"""What the process function of an engine works with: an engine itself holds no model."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

_ACCUMULATION = "gradient_accumulation_steps"


def find_model(function: Callable[..., Any]) -> nn.Module:
    """Return the model that a process function trains.

    It is the one module with parameters that the function reaches by a name, or the one of several
    that is called `model`.

    Raises:
        ValueError: there is none, or there are several.
    """
    names = {name: x for name, x in _reached(function).items() if isinstance(x, nn.Module)}
    trained = {name: x for name, x in names.items() if next(x.parameters(), None) is not None}
    if "model" in trained:
        return trained["model"]
    found = list({id(x): x for x in trained.values()}.values())
    if len(found) == 1:
        return found[0]
    kinds = ", ".join(f"{name} ({type(x).__name__})" for name, x in trained.items()) or "none"
    msg = f"`model` must be given: the engine's process function holds no single one, got {kinds}"
    raise ValueError(msg)


def find_accumulation(function: Callable[..., Any]) -> int:
    """Return how many batches a process function that Ignite made takes for a step; else 1."""
    own = getattr(function, "__module__", "").startswith("ignite.")
    return int(_reached(function).get(_ACCUMULATION, 1)) if own else 1


def _reached(function: Any) -> dict[str, Any]:
    """What a function reaches by name: its globals, closure, bound arguments, and its object's."""
    if isinstance(function, functools.partial):
        given = {f"argument {number}": x for number, x in enumerate(function.args)}
        return {**_reached(function.func), **given, **function.keywords}
    function = inspect.unwrap(function)
    if not _is_python(function):
        function = function.__call__  # an object that can be called
    own = getattr(getattr(function, "__self__", None), "__dict__", {})
    attributes = {**own, **own.get("_modules", {})}
    if not _is_python(function):
        return attributes
    names = inspect.getclosurevars(function)
    return {**names.globals, **attributes, **names.nonlocals}


def _is_python(function: Any) -> bool:
    return inspect.isfunction(function) or inspect.ismethod(function)
