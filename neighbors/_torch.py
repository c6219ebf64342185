"""The backend of torch tensors; `Backend` says what each function does."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import torch

from milepost.neighbors import _numpy
from milepost.neighbors._blocks import spans

_BLOCK = 1024  # queries


def tile_pairs(like: torch.Tensor) -> int:
    return 1 << 18 if like.device.type == "cpu" else 1 << 24


def available_bytes(like: torch.Tensor) -> int:
    if like.device.type == "cuda":
        return int(torch.cuda.mem_get_info(like.device)[0])
    return int(psutil.virtual_memory().available)


def rows32(x: Any) -> torch.Tensor:
    tensor = torch.as_tensor(_writable(x)).detach()
    device = "cpu" if tensor.device.type == "mps" else tensor.device  # Metal has no float64
    return tensor.to(device=device, dtype=torch.float32).contiguous()


def narrowed(x: torch.Tensor, dtype: str) -> torch.Tensor:
    return x.to(torch.float16 if dtype == "float16" else torch.bfloat16)


def float64(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.float64)


def int64(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.int64)


def round32(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.float32)


def bits(x: torch.Tensor) -> torch.Tensor:
    return x.view(torch.int64 if x.dtype == torch.float64 else torch.int32)


def from_bits(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.int32).view(torch.float32)


def sqrt(x: torch.Tensor) -> torch.Tensor:
    return x.sqrt()


def rint(x: torch.Tensor) -> torch.Tensor:
    return x.round()


def last_at_most(edges: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch.searchsorted(edges, x, right=True).clip(1) - 1


def finite_rows(x: torch.Tensor) -> torch.Tensor:
    return x.isfinite().all(dim=1)


def count(mask: torch.Tensor) -> int:
    return int(mask.count_nonzero())


def positions(mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return mask.nonzero(as_tuple=True)


def unique_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows, inverse = torch.unique(x, dim=0, return_inverse=True)
    return rows, inverse


def largest(keys: torch.Tensor, k: int) -> torch.Tensor:
    if keys.device.type == "cpu":  # where topk of int64 takes ten times as long
        return torch.from_numpy(_numpy.largest(keys.numpy(), k).copy())
    return keys.topk(k, dim=1).values


def last_axis_max(x: torch.Tensor) -> torch.Tensor:
    return x.amax(dim=-1)


def take(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return x[positions]


def products(queries: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
    if _rounds_factors():  # to TF32 or bfloat16, beyond the error that is allowed for
        queries, gallery = queries.double(), gallery.double()
    with torch.autocast(queries.device.type, enabled=False):
        return (queries @ gallery.T).float()


def best_products(
    queries: torch.Tensor, gallery: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor, int]:
    if queries.device.type == "cpu":
        return _tensors(_numpy.best_products(queries.numpy(), gallery.numpy(), k))
    return *tiled_products(queries, gallery, k), queries.shape[1]


def best_products_within(
    rows: torch.Tensor, k: int
) -> Iterator[tuple[slice, tuple[torch.Tensor, torch.Tensor, int]]]:
    if rows.device.type == "cpu":
        for block, found in _numpy.best_products_within(rows.numpy(), k):
            yield block, _tensors(found)
    else:
        for block in spans(len(rows), _BLOCK):
            yield block, best_products(rows[block], rows, k)


def _tensors(found: tuple[Any, Any, int]) -> tuple[torch.Tensor, torch.Tensor, int]:
    products, places, roundings = found
    return torch.from_numpy(products), torch.from_numpy(places), roundings


def tiled_products(
    queries: torch.Tensor, gallery: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do what `best_products` does with torch's own product, tile by tile."""
    values = queries.new_empty((len(queries), 0))
    best = values, values.long()
    height = max(1, tile_pairs(queries) * 4 // len(queries))
    for start in range(0, len(gallery), height):
        tile = products(queries, gallery[start : start + height])
        found = tile.topk(min(k, tile.shape[1]), dim=1)
        values = torch.cat([best[0], found.values], dim=1)
        places = torch.cat([best[1], found.indices + start], dim=1)
        chosen = values.topk(min(k, values.shape[1]), dim=1)
        best = chosen.values, places.gather(1, chosen.indices)
    return best


def _rounds_factors() -> bool:
    """Return whether torch may round the factors of a float32 product, as a setting allows it."""
    places = (torch.backends, torch.backends.cuda.matmul, torch.backends.mkldnn)
    names = {getattr(place, "fp32_precision", "none") for place in places}
    names.add(getattr(getattr(torch.backends.mkldnn, "matmul", None), "fp32_precision", "none"))
    return not names <= {"none", "ieee"} or torch.get_float32_matmul_precision() != "highest"


def running_max(x: torch.Tensor) -> torch.Tensor:
    return x.cummax(dim=1).values


def tally(counts: torch.Tensor, x: torch.Tensor) -> None:
    x = x.reshape(-1)
    if 4 * x.numel() < counts.numel():
        counts.index_add_(0, x, torch.ones_like(x))
    else:
        counts += x.bincount(minlength=counts.numel())


def concat(arrays: list[torch.Tensor], axis: int) -> torch.Tensor:
    return torch.cat(arrays, dim=axis)


def array(values: npt.NDArray[Any], like: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(_writable(values), device=like.device)


def copy(x: torch.Tensor) -> torch.Tensor:
    return x.detach().clone()


def numpy(x: torch.Tensor) -> npt.NDArray[Any]:
    x = x.detach().cpu()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


def _writable(values: Any) -> Any:
    """Return values that torch can see without a warning."""
    is_fixed = isinstance(values, np.ndarray) and not values.flags.writeable
    return values.copy() if is_fixed else values
