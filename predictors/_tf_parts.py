"""The parts of a TensorFlow model, layers and variables, and what they are called."""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from milepost.predictors._frameworks import is_keras

_BOOKKEEPING = ("_self_", "_layers", "_operations", "_functional", "_metrics", "_tracked")
_NUMBER = re.compile(r"_\d+$")


def is_variable(value: Any) -> bool:
    """Tell whether a value is a variable, TensorFlow's or Keras's."""
    keras = getattr(sys.modules.get("keras"), "Variable", tf.Variable)
    return isinstance(value, tf.Variable | keras)


def is_module(value: Any) -> bool:
    """Tell whether a value is a layer or module, whose output can be had by its name."""
    if is_keras(value):
        return not _is_entry(value)
    return isinstance(value, tf.Module)


def _is_entry(layer: Any) -> bool:
    """Tell whether a layer stands for an input of a functional model, and never runs."""
    return type(layer).__name__ == "InputLayer"


def layers_of(part: Any) -> Iterator[tuple[str, Any]]:
    """Give the layers that a Keras model lists, by name, without the entries of its graph."""
    for layer in getattr(part, "layers", ()) if is_keras(part) else ():
        if not _is_entry(layer):
            yield layer.name, layer


def attributes_of(part: Any) -> Iterator[tuple[str, Any]]:
    """Give the layers, modules, variables and containers that an object or container holds.

    Where Keras and TensorFlow keep a second list of them is passed by.
    """
    if isinstance(part, Mapping):
        items = [(str(key), value) for key, value in part.items()]
    elif isinstance(part, list | tuple):
        items = [(str(position), value) for position, value in enumerate(part)]
    else:
        items = [(x, y) for x, y in vars(part).items() if not x.startswith(_BOOKKEEPING)]
        if is_keras(part) and hasattr(part, "layers"):
            items.append(("layers", list(part.layers)))
    for name, value in items:
        if isinstance(value, Mapping | list | tuple) or is_module(value) or is_variable(value):
            yield name, value


def children(part: Any) -> Iterator[tuple[str, Any]]:
    """Give all that may be the first step of a path from a part, under each of its names."""
    yield from layers_of(part)
    yield from attributes_of(part)


def descend(part: Any, path: str) -> Any:
    """Return the layer or module at the end of a path, a name that may have dots; None: none."""
    for name, child in children(part):
        if path == name:
            if is_module(child):
                return child
        elif path.startswith(f"{name}."):
            found = descend(child, path[len(name) + 1 :])
            if found is not None:
                return found
    return None


def inner_names(model: Any) -> Iterator[str]:
    """Give the name of each layer and module inside a model, each once."""
    return (path for path, part in _walk(model, "", {id(model)}) if is_module(part))


def modules(model: Any) -> Iterator[Any]:
    """Give a model and each layer and module inside it, each once."""
    yield model
    yield from (part for _, part in _walk(model, "", {id(model)}) if is_module(part))


def follow_variables(model: Any) -> None:
    """Let layers that keep tensors of their variables' values make them anew, in a trace.

    Traced, they follow the variables, or what stands in their place.
    """
    kind = getattr(getattr(sys.modules.get("keras"), "layers", None), "Normalization", ())
    for part in modules(model):
        if isinstance(part, kind):
            part.finalize_state()


def lookups(model: Any) -> Iterator[Any]:
    """Give the layers of a model that look words or numbers up in a table."""
    layers = getattr(sys.modules.get("keras"), "layers", None)
    kinds = () if layers is None else (layers.StringLookup, layers.IntegerLookup)
    return (part for part in modules(model) if isinstance(part, kinds))


def named_variables(model: Any) -> dict[str, Any]:
    """Return the weights of a model by name: a path such as `"encoder.dense.kernel"`.

    Where Keras numbered a layer itself, its number is made relative to its neighbours, so that
    names are the same in each process. Seeds and the states of metrics are no weights.
    """
    found: dict[str, Any] = {}
    if is_module(model):
        _collect(model, "", found, {id(model)}, set())
    elif isinstance(model, tf.__internal__.tracking.AutoTrackable):
        _collect_loaded(model, found)
    return found


def _collect_loaded(model: Any, found: dict[str, Any]) -> None:
    """Add the variables of what `tf.saved_model.load` gave, whose parts have no types."""
    view, pending, seen = tf.train.TrackableView(model), [("", model)], {id(model)}
    for path, part in pending:
        for name, child in view.children(part).items():
            if id(child) in seen:
                continue
            seen.add(id(child))
            pending.append((f"{path}{name}.", child))
            if isinstance(child, tf.Variable):
                found[path + name] = child


def _collect(part: Any, prefix: str, found: dict[str, Any], seen: set[int], had: set[int]) -> None:
    """Add the variables of a part, its children's first."""
    for name, child in _relative(part):
        if isinstance(child, tf.Variable):  # Keras's own are called by their names, not attributes
            _add(child, prefix + name, found, had)
        elif id(child) not in seen and not is_variable(child):
            seen.add(id(child))
            _collect(child, f"{prefix}{name}.", found, seen, had)
    if is_keras(part):
        for variable in part.weights:
            _add(variable, prefix + variable.name, found, had)


def _add(variable: Any, name: str, found: dict[str, Any], had: set[int]) -> None:
    if id(variable) in had:
        return
    had.add(id(variable))
    unique, number = name, 0
    while unique in found:
        number += 1
        unique = f"{name}_{number}"
    found[unique] = variable


def _relative(part: Any) -> Iterator[tuple[str, Any]]:
    """Give the children of a part, each first under a name that every process gives it."""
    counts: Counter[str] = Counter()
    graph = is_keras(part) and getattr(part, "inputs", None) is not None
    for name, layer in layers_of(part) if graph else ():
        base = _NUMBER.sub("", name)
        if base.replace("_", "") == type(layer).__name__.lower():
            yield base if not counts[base] else f"{base}_{counts[base]}", layer
            counts[base] += 1
        else:
            yield name, layer
    yield from attributes_of(part)


def _walk(part: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Give each part inside a part by its path, each once."""
    graph = is_keras(part) and getattr(part, "inputs", None) is not None
    for name, child in children(part) if graph else attributes_of(part):
        if is_variable(child) or id(child) in seen:
            continue
        seen.add(id(child))
        yield prefix + name, child
        yield from _walk(child, f"{prefix}{name}.", seen)
