"""What decides the outputs of a model, so that equal outputs need not be computed twice."""

import abc
from typing import Any, NamedTuple


class UnidentifiedError(Exception):
    """Something that may decide the outputs of a model cannot be told for sure."""


class Packed(NamedTuple):
    """An array in plain memory.

    Attributes:
        dtype: what its framework calls the type of its values.
        shape: its shape.
        strides: the steps between values, in values; None: they lie in order.
        data: its values, as they lie.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    data: memoryview


class Identity(abc.ABC):
    """What decides a model's outputs besides the batch, digested for the time of one evaluation.

    Equal keys mean equal outputs, by construction: all that a forward pass can see goes into the
    key, down to the code that runs, and what cannot be told for sure is refused.
    """

    @abc.abstractmethod
    def key(self, predictor: Any, batch: Any) -> bytes:
        """Return what identifies the outputs of a batch.

        Args:
            predictor: the one that was identified, or one that it was made from by `fetching`.
            batch: as for `Predictor.forward`.

        Raises:
            UnidentifiedError: something cannot be told for sure.
        """

    @abc.abstractmethod
    def draws(self) -> object:
        """Return the state of the global random generators: the same if nothing drew from them."""

    @abc.abstractmethod
    def changes(self) -> list[str]:
        """Return the names of what decides the outputs and has changed since."""

    @abc.abstractmethod
    def pack(self, value: Any) -> Packed | None:
        """Return an output in plain memory; None where it is no array that can be."""

    @abc.abstractmethod
    def unpack(self, packed: Packed) -> Any:
        """Return an output as the forward pass gave it, where that ran."""
