"""How a PyTorch module is called, which may be a model of Keras."""

from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Any

from torch import nn

from milepost.predictors._frameworks import is_keras
from milepost.predictors._inputs import Call, parameters_of, plan_call
from milepost.predictors._keras_inputs import keras_parameters, plan_keras_call


def inputs_of(module: nn.Module) -> Mapping[str, Parameter]:
    """Return the parameters of a module's forward pass that are inputs."""
    return keras_parameters(module) if is_keras(module) else parameters_of(module.forward)


def mode_of(module: nn.Module) -> dict[str, Any]:
    """Return what a module is told besides its inputs, to run in inference mode."""
    return {"training": False} if is_keras(module) else {}


def plan_of(module: nn.Module, names: Sequence[str], inputs: Sequence[str] | None) -> Call:
    """Return which entries of a batch go to a module, and how."""
    if is_keras(module):
        return plan_keras_call(module, names, inputs)
    return plan_call(inputs_of(module), names, inputs)
