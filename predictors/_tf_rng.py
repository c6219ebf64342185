"""TensorFlow's global random generators, and that of Keras on TensorFlow."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from tensorflow.python.eager import context  # no public name reads these generators,
from tensorflow.python.ops import stateful_random_ops  # or tells whether they are there yet

_KERAS = "global_seed_generator"


@contextlib.contextmanager
def preserved_tf_rngs() -> Iterator[None]:
    """Give back the generator of operation seeds, TensorFlow's own and Keras's of this thread.

    One that is made meanwhile is forgotten again: made later, it draws its seed where training
    would have drawn it.
    """
    seeds = getattr(context.context(), "_rng", None)  # None until a seed is set
    state = None if seeds is None else seeds.getstate()
    if seeds is not None:  # an operation goes on where the last one of its seed stopped
        seeds.seed(hash(state))
    tensorflow = stateful_random_ops.global_generator
    keras = _keras_generator()
    kept = [_Kept(x.state) for x in (tensorflow, keras) if x is not None]
    try:
        yield
    finally:
        if seeds is not None:
            seeds.setstate(state)
        for variable in kept:
            variable.restore()
        stateful_random_ops.global_generator = tensorflow
        if keras is None and _keras_generator() is not None:
            _keras_state().set_global_attribute(_KERAS, None)


def make_keras_generator() -> None:
    """Make Keras's generator of this thread if it is not there: a trace cannot make it."""
    if _keras_state() is not None:
        sys.modules["keras.src.random.seed_generator"].global_seed_generator()


class _Kept:
    """The value of a variable, to be given back."""

    def __init__(self, variable: Any) -> None:
        self._variable = variable
        self._value = variable.numpy()

    def restore(self) -> None:
        self._variable.assign(self._value)


def _keras_state() -> Any:
    """Return Keras's module of global state if Keras runs on TensorFlow, else None."""
    keras = sys.modules.get("keras")
    backend = getattr(keras, "backend", None)
    if backend is None or backend.backend() != "tensorflow":
        return None
    return sys.modules.get("keras.src.backend.common.global_state")


def _keras_generator() -> Any:
    state = _keras_state()
    return None if state is None else state.get_global_attribute(_KERAS)
