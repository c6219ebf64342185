"""Where PyTorch modules live, and the batches on their way there."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def concrete_device(device: Any) -> torch.device | None:
    """Return the device that a user's argument means, with its index; None for None."""
    return None if device is None else torch.empty(0, device=device).device


def home_device(module: nn.Module) -> torch.device:
    """Return the device of a module's first parameter or buffer; the CPU if it has none."""
    for tensors in (module.parameters(), module.buffers()):
        for tensor in tensors:
            return tensor.device
    return torch.device("cpu")


def to_device(value: Any, device: torch.device, *, channels_last: bool) -> Any:
    """Return a batch, or an entry of it, with copies of its arrays as tensors on a device.

    Copies, since a model may work in place on what it is given. Mappings, lists and tuples are
    gone through; what torch has no tensor for (strings, objects, dates) stays as it is.
    """
    if isinstance(value, Tensor):
        moves = value.device != device
        tensor = value.to(device, non_blocking=value.is_pinned()) if moves else value.clone()
    elif isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc":
            return value
        native = value.astype(value.dtype.newbyteorder("="))  # a copy, writable, strides not < 0
        tensor = torch.from_numpy(native).to(device)
    elif isinstance(value, Mapping):
        return {x: to_device(y, device, channels_last=channels_last) for x, y in value.items()}
    elif type(value) in (list, tuple):
        return type(value)(to_device(x, device, channels_last=channels_last) for x in value)
    else:
        return value
    if channels_last and tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor
