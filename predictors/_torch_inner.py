"""The outputs of the inner modules of a PyTorch module."""

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from milepost.predictors._outputs import Captured, named
from milepost.predictors._torch_wrappers import child, unwrap


class Inner(NamedTuple):
    """An inner module, and which part of its output is meant ("": the only one)."""

    module: nn.Module
    part: str


def find_inner(module: nn.Module, name: str) -> Inner | None:
    """Return the inner module that a name, or the name without its last part, stands for."""
    head, _, tail = name.rpartition(".")
    for path, part in ((name, ""), (head, tail)):
        found = _descend(module, path.split("."))
        if found is not None:
            return Inner(found, part)
    return None


def _descend(module: nn.Module, steps: list[str]) -> nn.Module | None:
    """Return the module at the end of a path, in which wrappers need not be named."""
    for step in steps:
        found = child(module, step)
        found = child(unwrap(module), step) if found is None else found
        if found is None:
            return None
        module = found
    return module


@contextlib.contextmanager
def capturing(inners: Mapping[str, Inner]) -> Iterator[Captured]:
    """Collect what inner modules return: a module that is called several times, its last output.

    Tensors are copied, since a later operation may change them in place.
    """
    captured: Captured = {}
    with contextlib.ExitStack() as hooks:
        for name, (module, part) in inners.items():
            hook = module.register_forward_hook(partial(_keep, captured, name, part))
            hooks.callback(hook.remove)
        yield captured


def _keep(
    captured: Captured, name: str, part: str, _module: nn.Module, _args: Any, output: Any
) -> None:
    captured[name] = {
        x: value.detach().clone() if isinstance(value, Tensor) else value
        for x, value in named(output).items()
        if part in ("", x)
    }
