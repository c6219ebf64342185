"""Weights from a file or mapping, for a PyTorch module."""

import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from milepost import errors
from milepost.predictors._torch_copy import copy_module
from milepost.predictors._torch_device import concrete_device
from milepost.predictors._torch_wrappers import bare_name, unwrap

_NESTED = ("state_dict", "model_state_dict", "model")


def load_copy(
    model: nn.Module, checkpoint: Any, *, strict: bool, device: Any, channels_last: bool
) -> nn.Module:
    """Return a copy of a model in inference mode with the weights of a checkpoint.

    Args are those of `OfflinePredictor`.
    """
    copied = copy_module(unwrap(model), concrete_device(device), channels_last=channels_last)
    if checkpoint is None:
        return copied
    own = copied.state_dict(keep_vars=True)
    state = _renamed(_read(checkpoint), own)
    _refuse_shapes(state, own)
    names = copied.load_state_dict(state, strict=False)
    loaded = {id(value) for name, value in own.items() if name in state}
    missing = [name for name in names.missing_keys if id(own.get(name)) not in loaded]  # tied ones
    if missing or names.unexpected_keys:
        _report(missing, names.unexpected_keys, strict=strict or not loaded)
    return copied


def _read(checkpoint: Any) -> Mapping[str, Any]:
    """Return the state dict that a checkpoint holds, one level down or at its top."""
    if isinstance(checkpoint, str | os.PathLike):
        checkpoint = _read_file(Path(checkpoint))
    nested = (checkpoint.get(key) for key in _NESTED) if isinstance(checkpoint, Mapping) else ()
    for state in (*nested, checkpoint):
        if isinstance(state, Mapping) and (
            not state or any(isinstance(x, Tensor) for x in state.values())
        ):
            return state
    held = sorted(map(str, checkpoint)) if isinstance(checkpoint, Mapping) else type(checkpoint)
    msg = (
        "`checkpoint` must hold a state dict, at its top or under one of "
        f"{', '.join(map(repr, _NESTED))}, got {held}; pass the mapping of names to tensors"
    )
    raise ValueError(msg)


def _read_file(path: Path) -> Any:
    if path.suffix != ".safetensors":
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            error.add_note("If you trust the file, load it yourself and pass the names to tensors")
            raise
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise errors.missing_extra("safetensors", "torch") from error
    return load_file(path)


def _renamed(state: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict under the model's own names, whatever wrapped either of them."""
    bare = {_unwrapped(name): name for name in own}
    exact = {name: value for name, value in state.items() if name in own}
    rest = {name: value for name, value in state.items() if name not in own}
    return {bare.get(_unwrapped(name), name): value for name, value in rest.items()} | exact


def _unwrapped(name: str) -> str:
    name = bare_name(name)
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


def _report(missing: list[str], unexpected: list[str], *, strict: bool) -> None:
    msg = (
        "`checkpoint` has other names than the model; "
        f"only in the model: {', '.join(map(repr, missing)) or 'none'}; "
        f"only in the checkpoint: {', '.join(map(repr, unexpected)) or 'none'}"
    )
    if strict:
        raise ValueError(msg)
    warnings.warn(msg, stacklevel=4)
