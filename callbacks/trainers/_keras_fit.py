"""The end of a `fit` by an error, of which Keras tells no callback."""

import functools
import sys
import weakref
from collections.abc import Callable
from typing import Any, final

from keras.callbacks import CallbackList

_NO_ERRORS = ("StopIteration", "OutOfRangeError")  # how a step says that the data is at its end


@final
class FitWatch:
    """Tells of the error that ends a `fit`, before `fit` passes it on.

    The hooks of the list of callbacks and the model's step function are watched, so that errors of
    all callbacks, of a step and interrupts are told at once. Any other error is told when the list
    dies, which is when nobody holds the error's traceback any more.

    Args:
        hooks: the list of callbacks that `fit` works with.
        model: the model in training.
        ended: is called with the error.
    """

    def __init__(self, hooks: Any, model: Any, ended: Callable[[BaseException], object]) -> None:
        self._hooks = weakref.ref(hooks)
        self._model = model
        self._ended = ended
        self._names = [name for name in dir(type(hooks)) if name.startswith("on_")]
        hooks._async_train = False  # a lone callback would be called on a thread
        for name in self._names:  # by way of the class: the list must die without a collection
            call = functools.partial(getattr(type(hooks), name), weakref.proxy(hooks))
            setattr(hooks, name, self._watched(call))
        self._step = model.train_function
        self._watched_step = self._step and self._watched(self._step)
        model.train_function = self._watched_step
        self._death = weakref.finalize(hooks, _tell_of_death, ended)

    def close(self) -> None:
        """Give everything back as it was."""
        self._death.detach()
        hooks = self._hooks()
        for name in self._names if hooks is not None else ():
            delattr(hooks, name)
        if self._model.train_function is self._watched_step:
            self._model.train_function = self._step

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **options: Any) -> Any:
            try:
                return call(*args, **options)
            except BaseException as error:
                if type(error).__name__ not in _NO_ERRORS:
                    self._ended(error)
                raise

        return watched


def callers_hooks() -> Any:
    """Return the list of callbacks by which Keras called; None if somebody else did."""
    frame = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, CallbackList):
            return owner
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _tell_of_death(ended: Callable[[BaseException], object]) -> None:
    ended(sys.exc_info()[1] or RuntimeError("`model.fit` ended by an error"))
