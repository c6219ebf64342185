"""What wraps a PyTorch module to train it, and how to get past it."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

_WRAPPERS = (nn.parallel.DistributedDataParallel, nn.DataParallel, AveragedModel)


def unwrap(module: nn.Module) -> nn.Module:
    """Return the user's own module: past DDP, DataParallel, AveragedModel and `torch.compile`."""
    inner = _wrapped(module)
    return module if inner is None else unwrap(inner)


def quieten(module: nn.Module) -> None:
    """Put one module, not its children, into inference mode, past the wrapper that it may be.

    The flag is set directly: `eval` may be overridden, and change weights.
    """
    module.training = False
    if vars(module).get("_compiled_call_impl") is not None:  # `module.compile()`
        vars(module)["_compiled_call_impl"] = None
    inner = _wrapped(module)
    if inner is not None:
        vars(module)["forward"] = inner.__call__


def home_device(module: nn.Module) -> torch.device:
    """Return the device of a module's first parameter or buffer; the CPU if it has none."""
    for tensors in (module.parameters(), module.buffers()):
        for tensor in tensors:
            return tensor.device
    return torch.device("cpu")


def _wrapped(module: nn.Module) -> nn.Module | None:
    if isinstance(module, _WRAPPERS):
        return module._modules["module"]
    return module._modules.get("_orig_mod")  # `torch.compile`; its class would import the compiler
