"""Two PyTorch modules in a row as one."""

import inspect
from inspect import Parameter
from typing import Any

from torch import nn

from milepost.predictors._torch_call import inputs_of, mode_of
from milepost.predictors._torch_wrappers import unwrap


def compose_modules(first: nn.Module, second: nn.Module) -> nn.Module:
    """Return a module that runs one and then the other, with the signature of the first."""

    class Composed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.training = first.training
            self.trunk, self.embedder = first, second

        def forward(self, *arguments: Any, **keywords: Any) -> Any:
            return _run(self.embedder, _run(self.trunk, *arguments, **keywords))

    taken = inputs_of(unwrap(first)).values()
    itself = Parameter("self", Parameter.POSITIONAL_ONLY)
    signature = inspect.Signature([itself, *taken])
    Composed.forward.__signature__ = signature  # type: ignore[attr-defined]
    return Composed()


def _run(module: nn.Module, *arguments: Any, **keywords: Any) -> Any:
    return module(*arguments, **keywords, **mode_of(module))
