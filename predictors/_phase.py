"""Whether the code that asks runs for training or for an examination."""

from contextvars import ContextVar
from typing import final

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


@final
class InferencePhase:
    """Lets `is_training` be False in this thread, for the body of a `with`."""

    def __enter__(self) -> None:
        self._token = _training.set(False)
        _predictions.append(None)

    def __exit__(self, *exc: object) -> None:
        _predictions.pop()
        _training.reset(self._token)
