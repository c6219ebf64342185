"""Which framework a model is of, told without importing any."""

import sys
from typing import Any, Literal

Framework = Literal["torch", "tensorflow"]

_WANTED = "a torch.nn.Module, a Keras model, a tf.Module or a tf.function"


def framework_of(model: Any) -> Framework:
    """Return the framework that runs a model; Keras models are of their backend's.

    Raises:
        TypeError: the model is of no framework that is supported.
    """
    torch, tensorflow = sys.modules.get("torch"), sys.modules.get("tensorflow")
    if torch is not None and isinstance(model, torch.nn.Module):
        return "torch"
    if is_keras(model):
        backend = sys.modules["keras"].backend.backend()
        if backend != "tensorflow":
            msg = (
                f"`model` is a Keras model on the backend {backend!r}, and Milepost runs Keras on "
                "'tensorflow' and 'torch'; set KERAS_BACKEND before Keras is imported"
            )
            raise TypeError(msg)
        return "tensorflow"
    if tensorflow is not None and isinstance(model, _tensorflow_kinds(tensorflow)):
        return "tensorflow"
    kind = type(model)
    msg = f"`model` must be {_WANTED}, got {kind.__module__}.{kind.__qualname__}"
    raise TypeError(msg)


def is_keras(model: Any) -> bool:
    """Tell whether an object is a Keras layer or model, on any backend."""
    layer = getattr(sys.modules.get("keras"), "Layer", None)  # None while Keras is being imported
    return layer is not None and isinstance(model, layer)


def _tensorflow_kinds(tensorflow: Any) -> tuple[type, ...]:
    types = tensorflow.types.experimental
    loaded = tensorflow.__internal__.tracking.AutoTrackable  # what `tf.saved_model.load` gives
    return tensorflow.Module, types.PolymorphicFunction, types.ConcreteFunction, loaded
