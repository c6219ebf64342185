"""Samples in memory that are torch tensors."""

from collections.abc import Sequence

import torch
from torch import Tensor


def stack(samples: Sequence[Tensor]) -> Tensor:
    """Return samples as one batch, without their history."""
    return torch.stack([torch.as_tensor(sample).detach() for sample in samples])
