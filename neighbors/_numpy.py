"""The backend of NumPy arrays; `Backend` says what each function does."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from milepost.neighbors._blas import torch_in_place_of_openblas

Array = npt.NDArray[Any]

_BFLOAT16 = np.dtype([("bfloat16", np.uint16)])  # NumPy has none: the upper half of float32


def tile_pairs(like: Array) -> int:
    return 1 << 18  # 2 MiB of float64, so that temporary arrays stay in the cache


def available_bytes(like: Array) -> int:
    return int(psutil.virtual_memory().available)


def rows32(x: Array) -> Array:
    x = np.asarray(x)
    if x.dtype == _BFLOAT16:
        return (x["bfloat16"].astype(np.uint32) << 16).view(np.float32)
    return x if x.dtype == np.float32 else round32(x)


def narrowed(x: Array, dtype: str) -> Array:
    if dtype == "float16":
        with np.errstate(over="ignore", under="ignore"):
            return x.astype(np.float16)
    bits = np.ascontiguousarray(x).view(np.uint32)
    to_even = bits >> 16
    to_even &= 1
    to_even += 0x7FFF
    to_even += bits
    return (to_even >> 16).astype(np.uint16).view(_BFLOAT16)


def float64(x: Array) -> Array:
    return x.astype(np.float64)


def int64(x: Array) -> Array:
    return x.astype(np.int64)


def round32(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return x.astype(np.float32)


def bits(x: Array) -> Array:
    return x.view(np.int64 if x.dtype == np.float64 else np.int32)


def from_bits(x: Array) -> Array:
    return x.astype(np.int32).view(np.float32)


def sqrt(x: Array) -> Array:
    return np.sqrt(x)


def rint(x: Array) -> Array:
    return np.rint(x)


def last_at_most(edges: Array, x: Array) -> Array:
    return np.searchsorted(edges, x, side="right").clip(1) - 1


def finite_rows(x: Array) -> Array:
    return np.asarray(np.isfinite(x).all(axis=1))


def count(mask: Array) -> int:
    return int(np.count_nonzero(mask))


def positions(mask: Array) -> tuple[Array, ...]:
    if mask.ndim == 2:  # three times as quick
        return np.divmod(np.flatnonzero(mask), mask.shape[1])
    return np.nonzero(mask)


def unique_rows(x: Array) -> tuple[Array, Array]:
    x = np.ascontiguousarray(x)
    blobs = x.view(np.dtype((np.void, x.itemsize * x.shape[1])))[:, 0]
    _, first, inverse = np.unique(blobs, return_index=True, return_inverse=True)
    return x[first], inverse


def largest(keys: Array, k: int) -> Array:
    width = keys.shape[1]
    if k < width:
        keys = np.partition(keys, width - k, axis=1)[:, width - k :]
    return np.sort(keys, axis=1)[:, ::-1]


def last_axis_max(x: Array) -> Array:
    return np.asarray(x.max(axis=-1))


def take(x: Array, positions: Array) -> Array:
    return x.take(positions, axis=0)  # much quicker than by index


def products(queries: Array, gallery: Array) -> Array:
    torch = torch_in_place_of_openblas()
    if torch is None:
        with np.errstate(over="ignore", invalid="ignore"):
            return queries @ gallery.T
    found: Array = torch.numpy(torch.products(torch.rows32(queries), torch.rows32(gallery)))
    return found


def best_products(queries: Array, gallery: Array, k: int) -> tuple[Array, Array, int]:
    from milepost.neighbors import _best_products as products  # which builds on this backend

    return products.best_products(queries, gallery, k)


def best_products_within(rows: Array, k: int) -> Iterator[tuple[slice, tuple[Array, Array, int]]]:
    from milepost.neighbors import _best_products as products

    return products.best_products_within(rows, k)


def running_max(x: Array) -> Array:
    return np.maximum.accumulate(x, axis=1)


def tally(counts: Array, x: Array) -> None:
    if 4 * x.size < counts.size:
        np.add.at(counts, x.reshape(-1), 1)
    else:
        counts += np.bincount(x.reshape(-1), minlength=counts.size)


def concat(arrays: list[Array], axis: int) -> Array:
    return np.concatenate(arrays, axis=axis)


def array(values: Array, like: Array) -> Array:
    return values


def copy(x: Array) -> Array:
    return np.array(x)


def numpy(x: Array) -> Array:
    return np.asarray(x)
