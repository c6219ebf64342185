"""Batches as the tensors that go into a trace, and what comes out of it."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from milepost.predictors._arrays import to_numpy

Layout = Any
"""Hashable: how nested values are put together again of their tensors, and the kinds of these."""

_COMPOSITE = (tf.RaggedTensor, tf.SparseTensor)


def as_tensor(value: Any) -> Any:
    """Return the tensor of an array of any framework, a text or a list of texts; None: none is.

    A tensor of TensorFlow is returned as it is.
    """
    if tf.is_tensor(value):
        return value if not isinstance(value, tf.Variable) else tf.convert_to_tensor(value)
    if isinstance(value, str | bytes) or _is_texts(value):
        return tf.constant(value, tf.string)
    if not hasattr(value, "__array__"):
        return None
    array = to_numpy(value)
    if array.dtype.kind in "biufc" and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    try:
        return tf.convert_to_tensor(array)
    except (TypeError, ValueError):  # dates, objects
        return None


def flatten(value: Any, leaves: list[Any]) -> Layout:
    """Append the tensors in a nested value to `leaves`, and return its layout.

    What TensorFlow has no tensor for is left out.
    """
    if isinstance(value, Mapping):
        parts = ((name, flatten(part, leaves)) for name, part in value.items())
        return ("dict", *((name, part) for name, part in parts if part is not None))
    if isinstance(value, list | tuple) and not _is_texts(value):
        return ("list", *(flatten(part, leaves) for part in value))
    tensor = as_tensor(value)
    if tensor is None:
        return None
    leaves.append(tensor)
    return tensor.dtype, tensor.shape.rank, *_composite(tensor)


def unflatten(layout: Layout, leaves: Iterator[Any]) -> Any:
    """Return a nested value of its tensors."""
    if layout is None:
        return None
    if layout[0] == "dict":
        return {name: unflatten(part, leaves) for name, part in layout[1:]}
    if layout[0] == "list":
        return [unflatten(part, leaves) for part in layout[1:]]
    return next(leaves)


def spec_of(tensor: Any, shape: Any) -> Any:
    """Return the specification of a tensor, but for its shape."""
    if isinstance(tensor, tf.RaggedTensor):
        splits = tensor.row_splits.dtype
        return tf.RaggedTensorSpec(shape, tensor.dtype, tensor.ragged_rank, splits)
    if isinstance(tensor, tf.SparseTensor):
        return tf.SparseTensorSpec(shape, tensor.dtype)
    return tf.TensorSpec(shape, tensor.dtype)


def dense(leaves: list[Any]) -> list[Any]:
    """Return the plain tensors that tensors are made of."""
    if any(isinstance(leaf, _COMPOSITE) for leaf in leaves):
        return list(tf.nest.flatten(leaves, expand_composites=True))
    return leaves


def is_tensor(value: Any) -> bool:
    """Tell whether an output is an array: a tensor, a variable, a NumPy array."""
    return tf.is_tensor(value) or isinstance(value, np.ndarray) or hasattr(value, "assign")


def as_tensors(value: Any) -> Any:
    """Return an output, possibly nested, with the values of now of its arrays and variables."""
    if isinstance(value, _COMPOSITE):
        return value
    if is_tensor(value):
        return tf.convert_to_tensor(value)
    if isinstance(value, Mapping):
        return {name: as_tensors(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [as_tensors(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _composite(tensor: Any) -> tuple[Any, ...]:
    if isinstance(tensor, tf.RaggedTensor):
        return "ragged", tensor.ragged_rank, tensor.row_splits.dtype
    return ("sparse",) if isinstance(tensor, tf.SparseTensor) else ()


def _is_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and isinstance(value[0], str | bytes)
