"""The outputs of the inner layers and modules of a TensorFlow model."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from milepost.predictors._frameworks import is_keras
from milepost.predictors._outputs import Captured, named
from milepost.predictors._tf_parts import descend


class Inner(NamedTuple):
    """An inner layer or module, and which part of its output is meant ("": the only one)."""

    layer: Any
    part: str


def find_inner(model: Any, name: str) -> Inner | None:
    """Return the inner layer that a name, or the name without its last part, stands for."""
    head, _, tail = name.rpartition(".")
    for path, part in ((name, ""), (head, tail)):
        found = descend(model, path) if path else None
        if found is not None:
            return Inner(found, part)
    return None


@contextlib.contextmanager
def capturing(inners: Mapping[str, Inner]) -> Iterator[Captured]:
    """Collect what inner layers return in this thread: of one called several times, the last."""
    captured: Captured = {}
    with contextlib.ExitStack() as replaced:
        for name, (layer, part) in inners.items():
            keep = _Keep(captured, name, part)
            replaced.enter_context(_replaced_call(layer, keep))
        yield captured


class _Keep:
    """Puts the parts of an output into what is captured."""

    def __init__(self, captured: Captured, name: str, part: str) -> None:
        self._captured, self._name, self._part = captured, name, part
        self._thread = threading.get_ident()

    def __call__(self, output: Any) -> None:
        if threading.get_ident() == self._thread:
            parts = {x: y for x, y in named(output).items() if self._part in ("", x)}
            self._captured[self._name] = parts


@contextlib.contextmanager
def _replaced_call(layer: Any, keep: Callable[[Any], None]) -> Iterator[None]:
    """Let a layer hand its output to `keep`, for the time of the scope."""
    if not is_keras(layer):
        with _subclassed(layer, keep):
            yield
        return
    attributes, original = vars(layer), layer.call
    earlier = attributes.get("call")

    def call(*arguments: Any, **keywords: Any) -> Any:
        output = original(*arguments, **keywords)
        keep(output)
        return output

    attributes["call"] = call
    try:
        yield
    finally:
        del attributes["call"]
        if earlier is not None:
            attributes["call"] = earlier


@contextlib.contextmanager
def _subclassed(module: Any, keep: Callable[[Any], None]) -> Iterator[None]:
    """Let a module's `__call__`, which Python looks up in its class, be that of a subclass."""
    kind = type(module)

    def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
        output = kind.__call__(self, *arguments, **keywords)
        keep(output)
        return output

    metaclass: Any = type(kind)
    module.__class__ = metaclass(kind.__name__, (kind,), {"__call__": call})
    try:
        yield
    finally:
        module.__class__ = kind


def refuse_foreign(captured: Captured) -> None:
    """Raise where a captured tensor belongs to another graph than that of now.

    Raises:
        ValueError: a layer ran inside a `tf.function` or loop of its own.
    """
    here = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    for name, parts in captured.items():
        for leaf in tf.nest.flatten(parts, expand_composites=True):
            if tf.is_symbolic_tensor(leaf) and leaf.graph is not here:
                msg = (
                    f"inner module {name!r} runs inside a tf.function or loop of the model's own, "
                    "out of which its output cannot be had; let the model return it"
                )
                raise ValueError(msg)
