"""The kinds of arrays that there are here: NumPy's, and torch's where it is installed."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from milepost.neighbors import _numpy

CONVERTERS: list[Callable[[Any], Any]] = [np.asarray]  # from an array of NumPy
BACKENDS: list[Any] = [_numpy]

if find_spec("torch"):
    import torch

    from milepost.neighbors import _torch

    CONVERTERS.append(torch.from_numpy)
    BACKENDS.append(_torch)
