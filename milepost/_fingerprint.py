"""What identifies the weights of a model."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from milepost.predictors import to_numpy


def fingerprint(weights: Mapping[str, Any]) -> str:
    """Return a digest of weights: names, types, shapes and values, in any order, on any device.

    Memory: a copy of one weight.

    Example:
        >>> one, other = {"a": np.zeros(2), "b": np.ones(1)}, {"b": np.ones(1), "a": np.zeros(2)}
        >>> fingerprint(one) == fingerprint(other), fingerprint(one) == fingerprint({})
        (True, False)
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        values = np.ascontiguousarray(to_numpy(weights[name]))
        digest.update(f"{name} {weights[name].dtype} {values.shape}\n".encode())
        digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
