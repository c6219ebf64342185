"""Weights from a file or mapping, for a PyTorch module."""

import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from milepost import errors
from milepost.predictors._torch_copy import copy_module
from milepost.predictors._torch_wrappers import unwrap

_NESTED = ("state_dict", "model_state_dict", "model")


def load_copy(model: nn.Module, checkpoint: Any, *, strict: bool) -> nn.Module:
    """Return a copy of a model in inference mode with the weights of a checkpoint.

    Args are those of `OfflinePredictor`.
    """
    copied = copy_module(unwrap(model))
    if checkpoint is None:
        return copied
    state = _matched(_read(checkpoint), copied.state_dict())
    _refuse_shapes(state, copied.state_dict())
    missing, unexpected = _compare(copied, state)
    if missing or unexpected:
        _report(missing, unexpected, strict=strict)
    copied.load_state_dict(state, strict=False)
    return copied


def _read(checkpoint: Any) -> Mapping[str, Any]:
    """Return the state dict that a checkpoint holds, at its top or one level down."""
    if isinstance(checkpoint, str | os.PathLike):
        checkpoint = _read_file(Path(checkpoint))
    nested = (checkpoint.get(key) for key in _NESTED) if isinstance(checkpoint, Mapping) else ()
    for state in (checkpoint, *nested):
        if isinstance(state, Mapping) and any(isinstance(x, Tensor) for x in state.values()):
            return state
    held = sorted(map(str, checkpoint)) if isinstance(checkpoint, Mapping) else type(checkpoint)
    msg = (
        "`checkpoint` must hold a state dict, at its top or under one of "
        f"{', '.join(map(repr, _NESTED))}, got {held}; pass the mapping of names to tensors"
    )
    raise ValueError(msg)


def _read_file(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True)
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise errors.missing_extra("safetensors", "torch") from error
    return load_file(path)


def _matched(state: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return a state dict under the model's names, whatever wrapped either of them."""
    bare = {_bare(name): name for name in names}
    exact = {name: value for name, value in state.items() if name in set(names)}
    rest = {name: value for name, value in state.items() if name not in exact}
    return {bare.get(_bare(name), name): value for name, value in rest.items()} | exact


def _bare(name: str) -> str:
    name = name.replace("_orig_mod.", "")
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def _refuse_shapes(state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    wrong = [
        f"{name!r}: {tuple(value.shape)} in the checkpoint, {tuple(own[name].shape)} in the model"
        for name, value in state.items()
        if isinstance(value, Tensor) and name in own and value.shape != own[name].shape
    ]
    if wrong:
        msg = f"`checkpoint` has other shapes than the model: {'; '.join(wrong)}"
        raise ValueError(msg)


def _compare(model: nn.Module, state: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the names only in the model and those only in the checkpoint.

    A tied weight is there if it is there under any of its names.
    """
    own = model.state_dict(keep_vars=True)
    loaded = {id(value) for name, value in own.items() if name in state}
    missing = [name for name, value in own.items() if id(value) not in loaded]
    return missing, [name for name in state if name not in own]


def _report(missing: list[str], unexpected: list[str], *, strict: bool) -> None:
    msg = (
        "`checkpoint` has other names than the model; "
        f"only in the model: {', '.join(map(repr, missing)) or 'none'}; "
        f"only in the checkpoint: {', '.join(map(repr, unexpected)) or 'none'}"
    )
    if strict:
        raise ValueError(msg)
    warnings.warn(msg, stacklevel=4)
