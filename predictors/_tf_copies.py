"""Variables that stand in the place of a TensorFlow model's own."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import tensorflow as tf

from milepost.predictors._tf_model import components, read


@final
class Substitutes:
    """Maps the variables of a model to those that are examined in their place.

    Args:
        of: variables by the identity of the handles of the model's own.
    """

    def __init__(self, of: Mapping[int, Any]) -> None:
        self._of = of

    def get(self, variable: Any) -> Any:
        """Return the TensorFlow variable that is examined in the place of a model's own."""
        own = components(variable)[0]
        return self._of.get(id(own.handle), own)

    def handles(self, captures: Iterable[Any]) -> list[Any]:
        """Return captured tensors with the handles of the variables that are examined."""
        found = ((capture, self._of.get(id(capture))) for capture in captures)
        return [capture if own is None else own.handle for capture, own in found]


def copies(
    variables: Iterable[Any], device: str | None, examined: Substitutes | None = None
) -> Substitutes:
    """Return copies of variables, or of what is examined in their place, as they are now.

    A copy shares the memory of its variable until either is written to.
    """
    of: dict[int, Any] = {}
    for variable in variables:
        parts = components(variable)
        source = parts[0] if examined is None else examined.get(variable)
        with tf.device(device or source.device):
            duplicate = copy.deepcopy(source)
        of |= {id(part.handle): duplicate for part in parts}
    return Substitutes(of)


def update(substitutes: Substitutes, variables: Iterable[Any]) -> None:
    """Let copies take the values of now."""
    for variable in variables:
        substitutes.get(variable).assign(read(components(variable)[0]))


def on_replica(variables: Iterable[Any], position: int) -> Substitutes:
    """Return the components of mirrored variables that live on one replica.

    Trainable ones are live. Of others, such as the statistics of batch normalisation, each replica
    of a training has its own, so those of the first are copied: all replicas run one model. A
    variable whose value is put together of all replicas' when it is read stays as it is.
    """
    of: dict[int, Any] = {}
    for variable in variables:
        parts = components(variable)
        own = parts[min(position, len(parts) - 1)]
        if parts[0].synchronization == tf.VariableSynchronization.ON_READ:
            continue
        if own is not parts[0] and not own.trainable:
            with tf.device(own.device):
                own = copy.deepcopy(parts[0])
        of |= {id(part.handle): own for part in parts}
    return Substitutes(of)


def replica_devices(variables: Sequence[Any]) -> list[str]:
    """Return the devices of the replicas over which variables are mirrored; empty if none are."""
    mirrored = (components(variable) for variable in variables)
    parts = next((x for x in mirrored if len(x) > 1), ())
    return [part.device for part in parts]


def checked_device(device: Any) -> str | None:
    """Return the full name of a device that a user means; None for None.

    Raises:
        ValueError: there is no such device.
    """
    if device is None:
        return None
    wanted = tf.DeviceSpec.from_string(f"/{str(device).lstrip('/')}")
    there = [x.name for x in tf.config.list_logical_devices()]
    for name in there:
        known = tf.DeviceSpec.from_string(name)
        if (wanted.device_type, wanted.device_index or 0) == (
            known.device_type,
            known.device_index,
        ):
            return str(known.replace(job="localhost", replica=0, task=0).to_string())
    msg = f"`device` must be one of TensorFlow's, {', '.join(map(repr, there))}, got {device!r}"
    raise ValueError(msg)
