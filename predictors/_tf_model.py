"""What a predictor needs to know of a TensorFlow model, of whatever kind."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any, final

import tensorflow as tf

from milepost import errors
from milepost.predictors._frameworks import is_keras
from milepost.predictors._inputs import Call, parameters_of, plan_call
from milepost.predictors._keras_inputs import plan_keras_call
from milepost.predictors._tf_parts import modules, named_variables

_TYPES = tf.types.experimental
_MODES = ("training", "is_training")


@final
class TFModel:
    """A Keras model, a `tf.Module`, a `tf.function`, or what `tf.saved_model.load` gave.

    Attributes:
        model: the user's own object.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._function = _callee(model)
        self._parameters: Mapping[str, Parameter] = {}
        if not is_keras(model):
            self._parameters = _parameters(self._function)

    @property
    def runs_eagerly(self) -> bool:
        """Whether the user wants Python to run in each forward pass."""
        return tf.config.functions_run_eagerly() or getattr(self.model, "run_eagerly", False)

    @property
    def is_function(self) -> bool:
        """Whether it is a function, which holds no variables that can be listed."""
        return _is_function(self.model)

    def plan(self, names: Sequence[str], inputs: Sequence[str] | None) -> Call:
        """Return which entries of a batch go to the model, and how."""
        if is_keras(self.model):
            return plan_keras_call(self.model, names, inputs)
        if hasattr(self.model, "plan_inputs"):  # models in a row
            plan: Call = self.model.plan_inputs(names, inputs)
            return plan
        taken = {x: y for x, y in self._parameters.items() if x not in _MODES or x in names}
        return plan_call(taken, names, inputs, as_dict=True)

    def call(self, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        """Return what the model makes of its inputs in inference mode."""
        modes = {x: False for x in _MODES if x in self._parameters and x not in keywords}
        if is_keras(self.model):
            _refuse_unbuilt(self.model)
            modes = {"training": False}
        return self._function(*arguments, **keywords, **modes)

    def named_variables(self) -> dict[str, Any]:
        """Return the weights by name."""
        return {} if self.is_function else named_variables(self.model)

    def listed(self) -> list[Any]:
        """Return the variables that the model itself lists, by which a change of it is seen.

        Seeds and the states of metrics, which are no weights, are among them.
        """
        if is_keras(self.model):
            return [*self.model.variables, *self.model.metrics_variables]
        return list(getattr(self.model, "variables", ()))

    def parts(self) -> list[Any]:
        """Return what the model runs besides its variables, by which a change of it is seen.

        Keras lets no layers be replaced but those of a sequential model.
        """
        if is_keras(self.model):
            return list(self.model.layers) if hasattr(self.model, "pop") else []
        return list(modules(self.model))[1:]


def _refuse_unbuilt(model: Any) -> None:
    """Raise if layers of a Keras model have no weights yet: Keras may run them on random ones.

    A model that was never called itself, but whose layers were, is as good as built.
    """
    waiting = () if model.built else modules(model)
    for part in waiting:
        if part is not model and is_keras(part) and not part.built:
            raise not_built(part.name)


def not_built(name: str) -> ValueError:
    """Return the error for a model that has no weights yet, such as those of a name."""
    return ValueError(
        f"the model is not built yet: its forward pass would make {name!r}; call it once on a "
        "batch, or its `build`, first"
    )


def components(variable: Any) -> tuple[Any, ...]:
    """Return the TensorFlow variables, one for each replica, that hold a variable's value."""
    variable = variable.value if hasattr(variable, "path") else variable  # Keras's own
    return tuple(getattr(variable, "values", (variable,)))


def read(variable: Any) -> Any:
    """Return the value of a TensorFlow variable, in the memory it has until it is written to."""
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)


def converted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose branches and loops may depend on tensors, as in `tf.function`."""
    autograph = tf.__internal__.autograph
    convert: Callable[..., Any] = autograph.tf_convert(function, autograph.control_status_ctx())
    return convert


def _callee(model: Any) -> Callable[..., Any]:
    """Return what is called for a forward pass.

    Raises:
        TypeError: there is no such thing.
    """
    if is_keras(model) or _is_function(model):
        return model  # type: ignore[no-any-return]
    if callable(model):
        call: Callable[..., Any] = model.__call__
        return call if _is_function(type(model).__call__) else converted(call)
    signatures: Any = getattr(model, "signatures", None)
    if isinstance(signatures, Mapping) and len(signatures):
        if "serving_default" in signatures or len(signatures) == 1:
            lone: Callable[..., Any] = next(iter(signatures.values()))
            return signatures.get("serving_default", lone)  # type: ignore[no-any-return]
        raise errors.unknown_name("signature", "serving_default", signatures)
    msg = f"`model` must be callable, got {type(model).__qualname__}; give it a `__call__`"
    raise TypeError(msg)


def _is_function(call: Any) -> bool:
    return isinstance(call, _TYPES.PolymorphicFunction | _TYPES.ConcreteFunction)


def _parameters(function: Any) -> Mapping[str, Parameter]:
    kind = getattr(function, "function_type", None)
    if isinstance(kind, inspect.Signature):
        return kind.parameters
    return parameters_of(getattr(function, "python_function", function))
