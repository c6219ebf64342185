"""The global random generators that every framework shares."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np


@contextlib.contextmanager
def preserved_rngs() -> Iterator[None]:
    """Give back the global generators of Python and NumPy as they were."""
    python, numpy = random.getstate(), np.random.get_state(legacy=False)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
