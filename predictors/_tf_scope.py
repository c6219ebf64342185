"""What is given back when a TensorFlow model was examined."""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, final

from milepost.predictors._tf_model import components, read
from milepost.predictors._tf_parts import modules


@final
class KeptValues:
    """The values of variables, to be given back."""

    def __init__(self) -> None:
        self._values: dict[int, tuple[Any, Any]] = {}

    def keep(self, variables: Iterable[Any]) -> None:
        """Keep the values of now, of those whose values are not kept yet.

        A value takes no memory until its variable is written to.
        """
        for variable in variables:
            if id(variable) not in self._values:
                self._values[id(variable)] = variable, read(variable)

    def restore(self) -> None:
        """Give all values back."""
        for variable, value in self._values.values():
            variable.assign(value)


@contextlib.contextmanager
def preserved_attributes(model: Any) -> Iterator[None]:
    """Give back the attributes of a model's layers, and what their lists, dicts and sets hold."""
    kept = [_Attributes(part) for part in modules(model) if hasattr(part, "__dict__")]
    try:
        yield
    finally:
        for attributes in kept:
            attributes.restore()


def fingerprints(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return what identifies the value of each variable, on each replica."""
    return {
        name: tuple(_fingerprint(part) for part in components(variable))
        for name, variable in variables.items()
    }


def _fingerprint(variable: Any) -> tuple[Any, ...]:
    value = read(variable).numpy()
    return value.shape, value.dtype, hashlib.blake2b(value.tobytes(), digest_size=16).digest()


def same(some: Iterable[Any], others: Iterable[Any]) -> bool:
    """Tell whether there are the same objects in the same order."""
    return list(map(id, some)) == list(map(id, others))


class _Attributes:
    """The attributes of one layer or module, by reference, and the content of its containers."""

    def __init__(self, part: Any) -> None:
        self._part, self._attributes = part, dict(vars(part))
        kinds: tuple[Any, ...] = (list, dict, set)
        self._contents = [
            (value, kind, kind(value))
            for value in self._attributes.values()
            for kind in kinds
            if isinstance(value, kind)
        ]

    def restore(self) -> None:
        attributes = vars(self._part)
        if not _same(attributes, self._attributes):
            attributes.clear()
            attributes.update(self._attributes)
        for value, kind, content in self._contents:
            if not _same(value, content):  # past what Keras and TensorFlow do at each change
                kind.clear(value)
                (list.extend if kind is list else kind.update)(value, content)


def _same(one: Any, other: Any) -> bool:
    """Tell whether two containers hold the same objects; equality may be that of tensors."""
    if isinstance(one, dict):
        return list(one) == list(other) and same(one.values(), other.values())
    return same(one, other)
