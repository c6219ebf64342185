"""Copies of PyTorch modules to examine."""

import copy
import dataclasses
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from milepost.predictors._torch_device import home_device
from milepost.predictors._torch_wrappers import compiled_from, quieten, wrapped


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

    Raises:
        ValueError: a patched forward pass would run the module itself, not its copy.
    """
    with torch.inference_mode(mode=False), torch.no_grad():
        try:
            copied = copy.deepcopy(module, _tensor_copies(module, device, into))
        except Exception as error:
            error.add_note("Milepost was copying the model; live weights on its device need none")
            raise
        layout = torch.channels_last if channels_last else torch.preserve_format
        copied.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    for original, part in zip(module.modules(), copied.modules(), strict=True):
        _rebind_forward(original, part)
        quieten(part)
    return copied


def _tensor_copies(
    module: nn.Module, device: torch.device | None, into: nn.Module | None
) -> dict[int, Any]:
    """Return copies of a module's tensors by their identity, as `copy.deepcopy` looks them up."""
    earlier = {} if into is None else dict(_named_tensors(into))
    home = home_device(module)
    copies: dict[int, Any] = {}
    for name, tensor in _named_tensors(module):
        if type(tensor) in (Tensor, nn.Parameter):  # other kinds know how to copy themselves
            copies[id(tensor)] = _duplicate(tensor, device or tensor.device, earlier.get(name))
    for tensor in _loose_tensors(module):
        if id(tensor) not in copies and (type(tensor) is Tensor or tensor.grad_fn is not None):
            moves = device is not None and tensor.device == home
            copies[id(tensor)] = _duplicate(tensor, device if moves else tensor.device, None)
    return copies


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _loose_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors in modules' attributes, containers in them included."""
    pending: list[Any] = [vars(part) for part in module.modules()]
    seen: set[int] = set()
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            yield value
        elif id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, dict):
                pending += value.values()
            elif isinstance(value, list | tuple | set):
                pending += value
            elif dataclasses.is_dataclass(value) and not isinstance(value, type):
                pending.append(vars(value))


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


def _rebind_forward(original: nn.Module, copied: nn.Module) -> None:
    """Let a forward pass that was replaced on the original run the copy."""
    forward = vars(original).get("forward")
    if wrapped(original) is not None or not isinstance(forward, FunctionType):
        return  # a wrapper's is passed by; a bound method was copied with its module
    method = compiled_from(forward)
    if not isinstance(method, MethodType) or method.__self__ is not original:
        msg = (
            f"`forward` of {type(original).__name__} was replaced by a function, which would run "
            "the model itself and not its copy; replace it by a method of a subclass"
        )
        raise ValueError(msg)
    vars(copied)["forward"] = MethodType(method.__func__, copied)
