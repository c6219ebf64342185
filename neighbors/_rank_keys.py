"""Keys that order as neighbours do: 64-bit integers of a score and, below it, a position."""

from typing import NamedTuple

import numpy as np

from milepost.neighbors._backend import Array, Backend

NOTHING = -(2**63)  # a key below that of every score
_LOW = 0xFFFFFFFF


class Neighbors(NamedTuple):
    """What a search found, the nearest first.

    Attributes:
        indices: int64 (Q, k), positions in the gallery; -1 where there are fewer than k.
        scores: float32 (Q, k), larger is closer: cosine, dot product or, for l2, minus the squared
            distance; minus infinity where there are fewer than k.
    """

    indices: Array
    scores: Array


def ordered(scores: Array, backend: Backend) -> Array:
    """Return float32 scores as int32 in the same order (no NaN, no negative zero)."""
    bits = backend.bits(scores)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def from_ordered(keys: Array, backend: Backend) -> Array:
    """Return the float32 scores that `ordered` turned into integers."""
    return backend.from_bits(keys ^ ((keys >> 31) & 0x7FFFFFFF))


def rank_keys(scores: Array, positions: Array, backend: Backend) -> Array:
    """Return int64 keys that order as (score, - position) do: 32 bits each.

    Args:
        scores: float32 (Q, K).
        positions: int64 (Q, K) or (1, K), in the gallery.
        backend: what owns the arrays.
    """
    keys = backend.int64(ordered(scores, backend)) << 32
    keys |= _LOW - positions
    return keys


def merged(best: Array, found: Array, k: int, backend: Backend) -> Array:
    """Return the `k` largest keys of each row of both."""
    found = backend.largest(found, min(k, found.shape[1]))
    return backend.largest(backend.concat([best, found], axis=1), k)


def decode(keys: Array, backend: Backend) -> Neighbors:
    """Return the neighbours that keys stand for."""
    nothing = keys == NOTHING
    indices = _LOW - (keys & _LOW)
    scores = from_ordered(keys >> 32, backend)
    indices[nothing] = -1
    scores[nothing] = -np.inf
    return Neighbors(indices, scores)
