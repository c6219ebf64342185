"""Which entries of a batch go to a Keras model, and how, on any backend of Keras."""

import sys
from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Any

from milepost.predictors._inputs import Call, parameters_of, plan_call

_OF_KERAS = ("training", "mask")  # parameters that are no inputs


def plan_keras_call(model: Any, names: Sequence[str], inputs: Sequence[str] | None) -> Call:
    """Return how a batch is passed to a Keras model; args and errors are those of `plan_call`.

    A functional or sequential model takes what its inputs are called; a lone entry of another name
    holds them all, as the pairs do that `fit` takes. A subclassed one takes what the parameters of
    its `call` are called; several `inputs` for one parameter go as a dict.
    """
    structure = _symbolic_inputs(model)
    if structure is None:
        return plan_call(keras_parameters(model), names, inputs, as_dict=True)
    keras = sys.modules["keras"]
    if isinstance(structure, Mapping) and not any(
        keras.tree.is_nested(part) for part in structure.values()
    ):
        structure = {name: name for name in structure}
    else:
        structure = keras.tree.map_structure(lambda tensor: tensor.name, structure)
    own = keras.tree.flatten(structure)
    holds_all = inputs is not None and len(inputs) == 1 and inputs[0] not in own
    if holds_all or (len(own) == 1 and isinstance(structure, str | list | tuple)):
        return plan_call({own[0]: _POSITIONAL}, names, inputs)
    call = plan_call(dict.fromkeys(own, _EITHER), names, inputs)
    if inputs is not None and len(inputs) != len(own):
        msg = f"the model takes {', '.join(map(repr, own))}, but `inputs` is {tuple(inputs)}"
        raise ValueError(msg)
    entry = dict(zip(own, call.positional, strict=True)) if call.positional else {}
    renamed = keras.tree.map_structure(lambda name: entry.get(name, name), structure)
    return Call(structure=renamed)


def keras_parameters(model: Any) -> dict[str, Parameter]:
    """Return the parameters of a Keras model's `call` that are inputs."""
    parameters = parameters_of(model.call)
    return {name: parameters[name] for name in parameters if name not in _OF_KERAS}


_POSITIONAL = Parameter("input", Parameter.POSITIONAL_ONLY)
_EITHER = Parameter("input", Parameter.POSITIONAL_OR_KEYWORD)


def _symbolic_inputs(model: Any) -> Any:
    """Return the structure of a functional model's symbolic inputs; None for other models."""
    keras = sys.modules["keras"]
    inputs: Any = getattr(model, "inputs", None)
    symbolic = isinstance(inputs, list | tuple) and len(inputs) > 0
    if not symbolic or not all(isinstance(x, keras.KerasTensor) for x in inputs):
        return None
    return inputs[0] if isinstance(model, keras.Sequential) else model.input
