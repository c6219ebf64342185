"""Weights from a file or mapping, for a PyTorch module."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from milepost import errors
from milepost.predictors._checkpoint import refuse_shapes, report_names
from milepost.predictors._torch_copy import copy_module
from milepost.predictors._torch_device import concrete_device
from milepost.predictors._torch_wrappers import bare_name, unwrap

_NESTED = ("state_dict", "model_state_dict", "model")


def load_copy(
    model: nn.Module,
    checkpoint: Any,
    *,
    strict: bool,
    device: Any,
    channels_last: bool,
    depth: int,
) -> nn.Module:
    """Return a copy of a model in inference mode with the weights of a checkpoint.

    Args are those of `OfflinePredictor`; `depth` is how many calls up the user's own is.
    """
    copied = copy_module(unwrap(model), concrete_device(device), channels_last=channels_last)
    if checkpoint is None:
        return copied
    own = copied.state_dict(keep_vars=True)
    state = _renamed(_read(checkpoint), own)
    refuse_shapes(
        {name: value.shape for name, value in state.items() if isinstance(value, Tensor)},
        {name: value.shape for name, value in own.items() if isinstance(value, Tensor)},
    )
    names = copied.load_state_dict(state, strict=False)
    loaded = {id(value) for name, value in own.items() if name in state}
    missing = [name for name in names.missing_keys if id(own.get(name)) not in loaded]  # tied ones
    report_names(missing, names.unexpected_keys, strict=strict or not loaded, depth=depth + 1)
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
