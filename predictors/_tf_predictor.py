"""The predictor for TensorFlow: Keras models, modules and functions."""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import tensorflow as tf
from tensorflow.python.eager.record import stop_recording  # a tape would keep what it records

from milepost.errors import unknown_name
from milepost.predictors._changes import refuse_changes
from milepost.predictors._identity import UnidentifiedError
from milepost.predictors._inputs import Call, lone
from milepost.predictors._options import Inputs, Options, Outputs
from milepost.predictors._phase import InferencePhase
from milepost.predictors._predictor import Predictor
from milepost.predictors._rng import preserved_rngs
from milepost.predictors._tf_copies import (
    Substitutes,
    checked_device,
    copies,
    on_replica,
    replica_devices,
    update,
)
from milepost.predictors._tf_forward import ForwardPass
from milepost.predictors._tf_identity import TFIdentity
from milepost.predictors._tf_inner import find_inner
from milepost.predictors._tf_model import TFModel, components, converted, read
from milepost.predictors._tf_rng import make_keras_generator
from milepost.predictors._tf_scope import KeptValues, fingerprints, preserved_attributes, same
from milepost.predictors._tf_tensors import Layout, as_tensor, flatten
from milepost.predictors._tf_trace import Trace, refused_variables, traces_of


@final
class TFPredictor(Predictor):
    """Runs a model in forward passes that are traced once for each kind of inputs.

    Other weights than the model's own are variables that stand in their place in the same traces.
    """

    def __init__(
        self,
        model: Any,
        options: Options,
        *,
        device: Any = None,
        averages: Mapping[str, Any] | None = None,
    ) -> None:
        """Args are those of `get_predictor`; `averages` stand in the place of weights, by name."""
        _refuse_options(options)
        self._model = TFModel(model)
        self._options = options
        self._substitutes: Substitutes | None = None
        self._follows = False
        self._own_outputs: tuple[str, ...] | None = None
        self._kept: list[KeptValues] = []
        self._calls: dict[tuple[str, ...], Call] = {}
        self._captures: dict[Trace, list[Any]] = {}
        self._traces = traces_of(model)
        self._forward = None if options.forward is None else converted(options.forward)
        self._listed = self._model.listed()
        self._weights = list(self._model.named_variables().values())
        self._variables = _union(self._listed, self._weights)
        self._home = _home(self._variables)
        self._device = checked_device(device) or self._home
        self._averages = averages
        moved = self._device != self._home and not self._model.is_function
        if moved or averages is not None:
            self._substitutes = copies(self._variables, self._device)
            self._follows = True

    @contextlib.contextmanager
    def scope(
        self, *, trace_check: bool = False, buffers: Mapping[str, Any] | None = None
    ) -> Iterator[None]:
        self._refresh()
        kept = KeptValues()
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        with preserved_rngs(), self._preserved_if_eager(kept):
            self._kept.append(kept)
            try:
                self._lend(kept, buffers or {})
                before = fingerprints(self._examined()) if trace_check else before
                yield
                after = fingerprints(self._examined()) if trace_check else after
            finally:
                self._kept.remove(kept)
                kept.restore()
        refuse_changes(before, after)

    @contextlib.contextmanager
    def _preserved_if_eager(self, kept: KeptValues) -> Iterator[None]:
        """Give back all that a forward pass in Python may change."""
        if self._is_traced:
            yield
            return
        kept.keep(part for variable in self._variables for part in components(variable))
        with preserved_attributes(self._model.model):
            yield

    def _lend(self, kept: KeptValues, buffers: Mapping[str, Any]) -> None:
        """Give buffers other values, of the same shape."""
        for name, variable in self._buffers().items() if buffers else ():
            if name not in buffers:
                continue
            if tuple(buffers[name].shape) != tuple(variable.shape):
                shapes = f"{tuple(variable.shape)} here, {tuple(buffers[name].shape)} on the chief"
                msg = (
                    f"the model must be the same on all ranks, but its buffer {name!r} is {shapes}"
                )
                raise ValueError(msg)
            kept.keep([variable])
            variable.assign(buffers[name])

    def _refresh(self) -> None:
        """Take note of a model that has other variables, and of the weights that are followed."""
        listed = self._model.listed()
        if not same(listed, self._listed):
            weights = list(self._model.named_variables().values())
            frozen = self._substitutes is not None and not self._follows
            if frozen and not same(weights, self._weights):  # `compile` adds others
                msg = "the model was given other layers after its weights were copied; copy again"
                raise ValueError(msg)
            self._listed, self._weights = listed, weights
            self._variables = _union(listed, weights)
            self._captures.clear()
            if self._follows:
                self._substitutes = copies(self._variables, self._device)
        self._traces.check(listed, self._model.parts())
        if self._follows and self._substitutes is not None:
            update(self._substitutes, self._variables)
            self.take(self._averages or {})

    def take(self, values: Mapping[str, Any]) -> None:
        """Give examined weights, which are copies, other values.

        Raises:
            UnknownNameError: the model has no weight of that name.
            ValueError: a value has another shape.
        """
        examined = self._examined()
        for name, value in values.items():
            if name not in examined:
                raise unknown_name("weight", name, examined)
            examined[name].assign(tf.cast(as_tensor(value), examined[name].dtype))

    @property
    def _is_traced(self) -> bool:
        return self._substitutes is not None or not self._model.runs_eagerly

    def forward(self, batch: Any) -> dict[str, Any]:
        if not self._is_traced:
            leaves: list[Any] = []
            run, _ = self._forward_pass(batch, leaves)
            make_keras_generator()
            with InferencePhase(), refused_variables(), stop_recording():
                chosen, self._own_outputs = run(leaves)
            return chosen
        trace, leaves, captures = self.traced(batch)
        self._own_outputs = trace.own
        if self._substitutes is None:
            with stop_recording():
                return trace(leaves, captures)
        with tf.device(self._device), stop_recording():
            return trace(leaves, captures)

    def traced(self, batch: Any) -> tuple[Trace, list[Any], list[Any]]:
        """Return the trace for a batch, its inputs, and what it takes besides them."""
        leaves: list[Any] = []
        run, layout = self._forward_pass(batch, leaves)
        key = (self._options.outputs, layout)
        trace = self._traces.get(key, leaves, run, self._options.forward)
        return trace, leaves, self._captures_of(trace)

    def _forward_pass(self, batch: Any, leaves: list[Any]) -> tuple[ForwardPass, Layout]:
        """Return the forward pass for a batch, whose tensors are appended to `leaves`."""
        layout = flatten(self._arguments(batch), leaves)
        return ForwardPass(self._model, self._forward, self._options, layout), layout

    def identity(self) -> TFIdentity:
        if not self._is_traced:
            msg = "the model runs in Python (`run_eagerly`)"
            raise UnidentifiedError(msg)
        return TFIdentity(self._device)

    def _arguments(self, batch: Any) -> Any:
        """Return what goes to the model: positional and keyword arguments, or the whole batch."""
        if self._options.forward is not None:
            return batch
        if not isinstance(batch, Mapping):
            return [[_checked(lone(batch))], {}]
        names = tuple(batch)
        if names not in self._calls:
            self._calls[names] = self._model.plan(names, self._options.inputs)
        return list(self._calls[names].arguments(batch, _checked))

    def _captures_of(self, trace: Trace) -> list[Any]:
        """Return what a trace takes besides its inputs; note what it may write to."""
        if trace not in self._captures:
            own = self._substitutes
            self._captures[trace] = trace.captures if own is None else own.handles(trace.captures)
        for kept in self._kept:
            kept.keep(self._examined_one(variable) for variable in trace.written)
        return self._captures[trace]

    def fetching(self, outputs: Outputs, *, inputs: Inputs = None) -> "TFPredictor":
        sibling = copy.copy(self)
        sibling._options = self._options.fetching(outputs, inputs)
        sibling._calls = {}
        return sibling

    def replicate(self, device: Any = None) -> "TFPredictor":
        if self._model.is_function:
            msg = (
                "the weights of a tf.function cannot be copied, as it does not tell what it uses; "
                "pass the tf.Module or Keras model, with `forward=` if it is not called itself"
            )
            raise ValueError(msg)
        self._refresh()
        where = checked_device(device)
        return self._with(copies(self._variables, where, self._substitutes), where or self._device)

    def replicas(self) -> Sequence["TFPredictor"]:
        devices = replica_devices(self._variables) if self._substitutes is None else []
        return [
            self._with(on_replica(self._variables, position), device)
            for position, device in enumerate(devices)
        ] or [self]

    def _with(self, substitutes: Substitutes, device: str) -> "TFPredictor":
        """Return a predictor of the same kind on other variables, for another thread."""
        other = copy.copy(self)
        other._substitutes, other._device, other._follows = substitutes, device, False
        other._averages = None
        other._kept, other._calls, other._captures = [], {}, {}
        return other

    def _examined_one(self, variable: Any) -> Any:
        own = components(variable)[0] if self._substitutes is None else None
        return own if self._substitutes is None else self._substitutes.get(variable)

    def _examined(self) -> dict[str, Any]:
        """Return the examined weights by name, as TensorFlow's variables."""
        own = self._model.named_variables()
        if self._model.is_function:
            captured = (x for trace in self._captures for x in trace.variables.values())
            own = {x.name.split(":")[0]: x for x in captured}
        return {name: self._examined_one(variable) for name, variable in own.items()}

    def _buffers(self) -> dict[str, Any]:
        return {name: x for name, x in self._examined().items() if not x.trainable}

    def weights(self) -> dict[str, Any]:
        return {name: read(variable) for name, variable in self._examined().items()}

    def buffers(self) -> dict[str, Any]:
        return {name: read(variable) for name, variable in self._buffers().items()}

    def has_inner(self, name: str) -> bool:
        inner = find_inner(self._model.model, name)
        return inner is not None and not inner.part

    @property
    def device(self) -> str:
        return self._device

    @property
    def outputs(self) -> tuple[str, ...] | None:
        outputs = self._options.outputs
        return None if outputs is None else tuple(map(str, outputs))

    @property
    def own_outputs(self) -> tuple[str, ...] | None:
        return self._own_outputs


def _checked(value: Any) -> Any:
    """Return an input that TensorFlow has a tensor for.

    Raises:
        TypeError: it has none.
    """
    if isinstance(value, Mapping | list | tuple):
        return value
    tensor = as_tensor(value)
    if tensor is None:
        msg = f"an input of the model must be an array or text, got {type(value).__name__}"
        raise TypeError(msg)
    return tensor


def _union(some: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    return list({id(variable): variable for variable in [*some, *others]}.values())


def _home(variables: Sequence[Any]) -> str:
    """Return the device of the first variable; where there is none, of what is made now."""
    where = components(variables[0])[0] if variables else tf.zeros(())
    return str(where.device)


def _refuse_options(options: Options) -> None:
    if options.autocast is not None:
        msg = (
            f"`autocast` is of PyTorch, got {options.autocast!r}; give a Keras model a dtype "
            "policy, such as 'mixed_bfloat16'"
        )
        raise ValueError(msg)
    if options.channels_last:
        msg = "`channels_last` is of PyTorch; a Keras layer has its `data_format`"
        raise ValueError(msg)
