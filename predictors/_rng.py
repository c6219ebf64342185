"""The global random generators: of Python, of NumPy, and of the frameworks that are loaded."""

import contextlib
import random
import sys
from collections.abc import Iterator

import numpy as np


@contextlib.contextmanager
def preserved_rngs() -> Iterator[None]:
    """Give back the global generators as they were; a framework is not loaded for it."""
    python, numpy = random.getstate(), np.random.get_state(legacy=False)
    with contextlib.ExitStack() as frameworks:
        if "torch" in sys.modules:
            from milepost.predictors._torch_scope import preserved_torch_rngs

            frameworks.enter_context(preserved_torch_rngs())
        if "tensorflow" in sys.modules:
            from milepost.predictors._tf_rng import preserved_tf_rngs

            frameworks.enter_context(preserved_tf_rngs())
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
