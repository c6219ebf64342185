"""Where torch keeps an array."""

from typing import Any

import torch

from milepost.neighbors import _torch


def on_device(rows: Any, device: Any) -> torch.Tensor:
    """Return rows as a tensor on a device."""
    return _torch.array(rows, like=torch.empty(0, device=device))
