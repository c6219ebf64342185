"""What wraps a PyTorch module to train it, and how to get past it."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel

_WRAPPERS = (nn.parallel.DistributedDataParallel, nn.DataParallel, AveragedModel)


def wrapped(module: nn.Module) -> nn.Module | None:
    """Return the module inside a wrapper: DDP, DataParallel, AveragedModel, `torch.compile`."""
    if isinstance(module, _WRAPPERS):
        return module._modules["module"]
    return child(module, "_orig_mod")  # `torch.compile`; its class would import the compiler


def child(module: nn.Module, name: str) -> nn.Module | None:
    """Return the submodule of that name; None if there is none."""
    modules = module._modules
    return modules[name] if name in modules else None  # noqa: SIM401, scripted ones lack `get`


def unwrap(module: nn.Module) -> nn.Module:
    """Return the user's own module, past any number of wrappers."""
    inner = wrapped(module)
    return module if inner is None else unwrap(inner)


def bare_name(name: str) -> str:
    """Return the name of a module or weight without the steps that `torch.compile` adds."""
    return ".".join(step for step in name.split(".") if step != "_orig_mod")


def quieten(module: nn.Module) -> None:
    """Put one module, not its children, into inference mode, past the wrapper that it may be.

    The flag is set directly: `eval` may be overridden, and change weights.
    """
    module.training = False
    attributes = vars(module)
    if attributes.get("_compiled_call_impl") is not None:  # `module.compile()`
        attributes["_compiled_call_impl"] = None
    inner = wrapped(module)
    forward = compiled_from(attributes.get("forward")) if inner is None else inner.__call__
    if forward is not None:
        attributes["forward"] = forward


def compiled_from(function: Any) -> Callable[..., Any] | None:
    """Return the function that `torch.compile` made a function from; None if it did not."""
    return getattr(function, "_torchdynamo_orig_callable", None)
