"""Weights in a safetensors file, written in one piece."""

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from milepost.errors import missing_extra


def save_weights(path: Path, weights: Mapping[str, Any], header: Mapping[str, str]) -> None:
    """Write tensors and a header of strings; `path` holds the old file or the new one, whole.

    Args:
        path: the file; its folder is there.
        weights: torch tensors on any device, or arrays, by name; they may share memory.
        header: goes with them.

    Raises:
        ImportError: safetensors is not installed.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            mode = os.fstat(file.fileno()).st_mode
        _save(part, weights, {"format": "pt", **header})
        part.chmod(mode)  # safetensors gives it to the owner alone
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _save(path: Path, weights: Mapping[str, Any], header: dict[str, str]) -> None:
    torch = sys.modules.get("torch")
    if torch is not None and any(isinstance(value, torch.Tensor) for value in weights.values()):
        from milepost.callbacks._torch_weights import save_tensors

        save_tensors(path, weights, header)
        return
    try:
        from safetensors.numpy import save_file
    except ImportError as error:
        extra = "tensorflow" if "tensorflow" in sys.modules else "torch"
        raise missing_extra("safetensors", extra) from error
    save_file({name: np.asarray(value, order="C") for name, value in weights.items()}, path, header)
