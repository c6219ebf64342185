"""Batches on their way to a PyTorch module."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def to_device(value: Any, device: torch.device, *, channels_last: bool) -> Any:
    """Return a batch, or an entry of it, with its arrays as tensors on a device.

    Mappings, lists and tuples are gone through; what torch has no tensor for (strings, objects,
    dates) stays as it is. A NumPy array shares its memory with the tensor if it can.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc":
            return value
        value = _from_numpy(value)
    elif isinstance(value, Mapping):
        return {x: to_device(y, device, channels_last=channels_last) for x, y in value.items()}
    elif type(value) in (list, tuple):
        return type(value)(to_device(x, device, channels_last=channels_last) for x in value)
    if not isinstance(value, Tensor):
        return value
    if value.device != device:
        value = value.to(device, non_blocking=value.is_pinned())
    if channels_last and value.dim() == 4:
        value = value.contiguous(memory_format=torch.channels_last)
    return value


def _from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)
