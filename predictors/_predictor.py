"""The contract that every predictor keeps, whatever framework made the model."""

import abc
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from milepost.predictors._identity import Identity, UnidentifiedError
from milepost.predictors._options import Inputs, Outputs


class Predictor(abc.ABC):
    """A model in inference mode, to be called at any time in training.

    A call takes one batch: a mapping from names to arrays (NumPy or the framework's own) or a
    single array. It gives a mapping from output names to the framework's own tensors.

    What an output is called: a mapping that the model returns gives its keys; the fields of a
    named tuple or dataclass their names; a tuple or list `"0"`, `"1"`, ...; a lone tensor
    `"output"`. A position may always be asked for by its number. An entry of a nested output is
    `"hidden_states.3"`. Any other name is that of an inner module: its output is what it last
    returned in the forward pass; if that is several arrays, `"lstm.0"` chooses one. Inner modules
    of Keras and TensorFlow are called by the names of layers, by attributes and by positions,
    joined by dots: `"encoder.block1"`, `"blocks.0"`.

    One predictor serves one thread at a time; `replicate` gives one for another thread.
    """

    def __call__(self, batch: Any) -> dict[str, Any]:
        """Return the outputs for one batch, leaving no trace in the model or its training."""
        with self.scope():
            return self.forward(batch)

    @abc.abstractmethod
    def forward(self, batch: Any) -> dict[str, Any]:
        """Return the outputs for one batch, inside a `scope` that the caller holds."""

    @abc.abstractmethod
    def scope(
        self, *, trace_check: bool = False, buffers: Mapping[str, Any] | None = None
    ) -> contextlib.AbstractContextManager[None]:
        """Return the scope in which any number of `forward` calls leave no trace.

        On entry a predictor on another device than the model takes its weights of now. On exit,
        also after an error, the model's attributes, buffers and train/eval flags and the global
        random generators are what they were. Attributes are given back by reference: what a
        forward pass adds to a list that the model holds stays there. Scopes nest. Memory: a copy
        of the buffers.

        Args:
            trace_check: hash parameters and buffers before and after, and raise if any changed.
            buffers: values that the model's buffers take for the time of the scope, by name.

        Raises:
            TraceError: `trace_check` found a change; the message names what changed.
        """

    @abc.abstractmethod
    def fetching(self, outputs: Outputs, *, inputs: Inputs = None) -> "Predictor":
        """Return a predictor on the same weights and in the same scope that gives other outputs.

        Args:
            outputs: as for `get_predictor`.
            inputs: the entries that go to the model, where the user did not say which.
        """

    @abc.abstractmethod
    def replicate(self, device: Any = None) -> "Predictor":
        """Return a predictor on a frozen copy of the weights of now, for another thread.

        Args:
            device: where the copy lives; None: where the weights are.
        """

    def replicas(self) -> Sequence["Predictor"]:
        """Return predictors on the weights of now, one for each device that holds them.

        They are the replicas of a `tf.distribute` strategy; any other model has one, this itself.
        """
        return [self]

    @abc.abstractmethod
    def weights(self) -> Mapping[str, Any]:
        """Return the examined weights by name, as tensors that share the model's memory.

        Those of a sharded model are put together: every rank calls it, and gets its own copy.
        """

    @abc.abstractmethod
    def buffers(self) -> Mapping[str, Any]:
        """Return what the model keeps besides its parameters, such as BatchNorm statistics.

        The ranks of a data-parallel training have equal parameters, but each its own buffers.
        """

    def identity(self) -> Identity:
        """Return what decides the outputs besides the batch, in a scope that the caller holds.

        Raises:
            UnidentifiedError: it cannot be told for sure.
        """
        msg = f"what a {type(self).__name__} gives cannot be foretold"
        raise UnidentifiedError(msg)

    @abc.abstractmethod
    def has_inner(self, name: str) -> bool:
        """Tell whether the model has an inner module of that name."""

    @property
    def is_sharded(self) -> bool:
        """Whether the model's weights are spread over ranks, so that all must run it together."""
        return False

    @property
    @abc.abstractmethod
    def device(self) -> Any:
        """Where the forward pass runs."""

    @property
    @abc.abstractmethod
    def outputs(self) -> tuple[str, ...] | None:
        """The names that were asked for; None: all the model's own outputs."""

    @property
    @abc.abstractmethod
    def own_outputs(self) -> tuple[str, ...] | None:
        """The names of the model's own outputs; None before the first forward pass."""
