"""Tensors in a safetensors file."""

from collections.abc import Mapping
from pathlib import Path

import torch

from milepost.errors import missing_extra


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], header: dict[str, str]) -> None:
    """Write tensors under all their names: one that shares its memory is written again.

    Raises:
        ImportError: safetensors is not installed.
    """
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise missing_extra("safetensors", "torch") from error
    memory: set[tuple[torch.device, int]] = set()
    own = {}
    for name, tensor in tensors.items():
        own[name] = tensor.detach().contiguous()
        key = (own[name].device, own[name].untyped_storage().data_ptr())
        if key in memory:
            own[name] = own[name].clone()
        memory.add(key)
    save_file(own, path, header)
