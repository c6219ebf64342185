"""Arrays of any framework as NumPy arrays."""

import sys
from typing import Any

import numpy as np


def to_numpy(array: Any) -> np.ndarray[Any, Any]:
    """Return an array or tensor as a NumPy array; bfloat16 and narrower floats become float32.

    A string tensor becomes an array of `str`, or of the `bytes` that it holds if these are no text.
    Memory is shared where it can be.

    Raises:
        TypeError: the rows of a ragged or sparse tensor make no array.

    Example:
        >>> to_numpy([1, 2])
        array([1, 2])
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        if array.is_floating_point() and array.dtype not in _numpy_floats(torch):
            array = array.float()
        return np.asarray(array.numpy(force=True))
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        _refuse_uneven(tensorflow, array)
    numbers = np.asarray(array)
    if numbers.dtype.name.startswith(("bfloat16", "float8", "float4")):
        return numbers.astype(np.float32)
    if tensorflow is not None and tensorflow.is_tensor(array) and numbers.dtype == object:
        return _as_texts(numbers)
    return numbers


def _numpy_floats(torch: Any) -> tuple[Any, ...]:
    return torch.float16, torch.float32, torch.float64


def _refuse_uneven(tensorflow: Any, array: Any) -> None:
    if isinstance(array, tensorflow.RaggedTensor | tensorflow.SparseTensor):
        kind = type(array).__name__
        msg = f"a {kind} is no array; make it a dense tensor, as by `to_tensor` or `to_dense`"
        raise TypeError(msg)


def _as_texts(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    try:
        texts = [text.decode() for text in array.ravel()]
    except UnicodeDecodeError:
        return array
    return np.array(texts, dtype=str).reshape(array.shape)
