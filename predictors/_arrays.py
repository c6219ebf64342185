"""Arrays of any framework as NumPy arrays."""

import sys
from typing import Any

import numpy as np


def to_numpy(array: Any) -> np.ndarray[Any, Any]:
    """Return an array or tensor as a NumPy array; bfloat16 and narrower floats become float32.

    Memory is shared where it can be.

    Example:
        >>> to_numpy([1, 2])
        array([1, 2])
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(array, torch.Tensor):
        return np.asarray(array)
    if array.is_floating_point() and array.dtype not in _numpy_floats(torch):
        array = array.float()
    return np.asarray(array.numpy(force=True))


def _numpy_floats(torch: Any) -> tuple[Any, ...]:
    return torch.float16, torch.float32, torch.float64
