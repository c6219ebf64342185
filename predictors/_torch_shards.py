"""Tensors that are spread over ranks (`torch.distributed.fsdp.fully_shard`)."""

import sys

from torch import Tensor


def is_shard(tensor: Tensor) -> bool:
    """Tell whether this process holds a part of the tensor only."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def whole(tensor: Tensor) -> Tensor:
    """Return the tensor itself; of one that is spread, a copy put together by all ranks."""
    return tensor.full_tensor() if is_shard(tensor) else tensor  # type: ignore[attr-defined]
