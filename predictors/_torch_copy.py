"""Copies of PyTorch modules to examine."""

import copy
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from milepost.predictors._torch_wrappers import home_device, quieten

_ATOMIC = (Tensor, nn.Module, type, types.ModuleType, types.FunctionType, str, bytes)


def copy_module(
    module: nn.Module,
    device: torch.device | None = None,
    *,
    into: nn.Module | None = None,
    channels_last: bool = False,
) -> nn.Module:
    """Return a copy of a module in inference mode; weights that are tied stay tied.

    Tensors that the module cached in a forward pass are copied without their history.

    Args:
        module: what is copied; it is not changed.
        device: where the copy lives; None: where the module does.
        into: an earlier copy of the same module, whose memory is used again.
        channels_last: lay out weights of four axes channels last.
    """
    earlier = {} if into is None else dict(_named_tensors(into))
    home, memo = home_device(module), dict[int, Any]()
    with torch.inference_mode(mode=False), torch.no_grad():
        for name, tensor in _named_tensors(module):
            memo[id(tensor)] = _duplicate(tensor, device or tensor.device, earlier.get(name))
        for tensor in _loose_tensors(module):
            if id(tensor) not in memo:
                moves = device is not None and tensor.device == home
                memo[id(tensor)] = _duplicate(tensor, device if moves else tensor.device, None)
        try:
            copied = copy.deepcopy(module, memo)
        except Exception as error:
            error.add_note("Milepost copied the model; live weights on its own device need no copy")
            raise
        layout = torch.channels_last if channels_last else torch.preserve_format
        copied.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    for part in copied.modules():
        quieten(part)
    return copied


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _duplicate(tensor: Tensor, device: torch.device | None, earlier: Tensor | None) -> Tensor:
    """Return a copy of a tensor, in the memory of an earlier one if that fits."""
    if earlier is not None and _alike(earlier, tensor) and earlier.device == device:
        earlier.data.copy_(tensor)
        return earlier
    data = tensor.detach().to(device, copy=True)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(data, requires_grad=tensor.requires_grad)
    return data


def _alike(one: Tensor, other: Tensor) -> bool:
    return type(one) is type(other) and (one.shape, one.dtype) == (other.shape, other.dtype)


def _loose_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that modules hold otherwise than as parameters and buffers."""
    pending: list[Any] = [vars(part) for part in module.modules()]
    seen: set[int] = set()
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            yield value
        if id(value) in seen or isinstance(value, _ATOMIC):
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            pending += value
        elif hasattr(value, "__dict__"):
            pending.append(vars(value))
