"""Whether the code that asks runs for training or for an examination."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_training = ContextVar("milepost_is_training", default=True)
_predictions: list[None] = []  # one entry for each prediction that runs now, in any thread


def is_training() -> bool:
    """Return False inside a predictor's forward pass, True anywhere else.

    Model code may branch on it. The answer is that of the executing thread: a predictor that runs
    in another thread does not change it.

    Example:
        >>> is_training()
        True
    """
    # `torch.compile` can trace, and guards on, the list; it cannot trace a context variable.
    return not _predictions or _training.get()


@contextlib.contextmanager
def inference_phase() -> Iterator[None]:
    """Let `is_training` be False in this thread."""
    token = _training.set(False)
    _predictions.append(None)
    try:
        yield
    finally:
        _predictions.pop()
        _training.reset(token)
