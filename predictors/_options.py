"""How a predictor calls its model and what it gives: the part that no framework changes."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T", bound=str | int)

Forward: TypeAlias = Callable[[Any, Any], Mapping[str, Any]]
"""A user's own `forward(model, batch)`, which gives named outputs."""

Inputs: TypeAlias = str | Iterable[str] | None
Outputs: TypeAlias = str | int | Iterable[str | int] | None


@dataclasses.dataclass(frozen=True)
class Options:
    """What was asked of a predictor.

    Attributes:
        inputs: the entries of the batch that go to the model; None: its signature decides.
        outputs: names and positions to give; None: all the model's own outputs.
        forward: replaces the model's own call.
        autocast: floating dtype to compute in, or its name; None: off.
        channels_last: whether images, arrays of four axes, are laid out channels last.
    """

    inputs: tuple[str, ...] | None = None
    outputs: tuple[str | int, ...] | None = None
    forward: Forward | None = None
    autocast: Any = None
    channels_last: bool = False

    @classmethod
    def of(
        cls,
        inputs: Inputs,
        outputs: Outputs,
        *,
        forward: Forward | None,
        autocast: Any,
        channels_last: bool,
    ) -> "Options":
        """Return the options that a user's arguments mean."""
        if forward is not None and inputs is not None:
            msg = f"`inputs` is {inputs!r}, but `forward` chooses the inputs itself; give only one"
            raise ValueError(msg)
        return cls(
            inputs=_tuple(inputs),
            outputs=_tuple(outputs),
            forward=forward,
            autocast=autocast,
            channels_last=channels_last,
        )

    def fetching(self, outputs: Outputs, inputs: Inputs) -> "Options":
        """Return the same options for other outputs, and for other inputs where none were asked."""
        asked = self.inputs is not None or self.forward is not None
        return dataclasses.replace(
            self,
            inputs=self.inputs if asked else _tuple(inputs),
            outputs=_tuple(outputs),
        )


def _tuple(names: T | Iterable[T] | None) -> tuple[T, ...] | None:
    if isinstance(names, str | int):
        return (names,)
    return None if names is None else tuple(names)
