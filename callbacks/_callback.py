"""What to do besides the training iterations."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from milepost.callbacks._record import Record
from milepost.callbacks._schedule import Scheduled

if TYPE_CHECKING:
    from milepost.callbacks._trainer import Trainer


class Callback:
    """Something to do besides the training iterations; override the hooks that you need.

    A method whose name is nearly that of a hook is a warning when its class is made.

    At one moment, the hooks of all callbacks run first, then `trigger` of those that are due, both
    in the order of the list. Every rank runs every hook.

    Attributes:
        every: when `trigger` is called: a schedule, or a string or a function that means one
            (`milepost.callbacks.schedule`). A method `every(self, moment)` does as well.
        takes_tables: whether `on_metrics` looks at a record's tables, which are made only if a
            monitor or a callback does, and lie on the chief alone; `setup` may change it.
        trainer: what the callback works with; there from `setup` on.

    Example:
        >>> class Probe(Callback):
        ...     every = "500 steps"
        ...
        ...     def setup(self) -> None:
        ...         self.predict = self.trainer.get_predictor(outputs=["output"])
        ...
        ...     def trigger(self) -> None:
        ...         print(self.trainer.step)
    """

    every: Scheduled = "1 epoch"
    takes_tables: bool = False
    trainer: Trainer

    def __init_subclass__(cls, **options: Any) -> None:
        """Warn of methods that are called like hooks, but not quite."""
        super().__init_subclass__(**options)
        for name, value in vars(cls).items():
            if name.startswith("_") or name in _HOOKS or not inspect.isfunction(value):
                continue
            if nearest := difflib.get_close_matches(name, _HOOKS, n=1, cutoff=0.8):
                msg = (
                    f"`{cls.__name__}.{name}` is no hook and is never called; did you mean "
                    f"{nearest[0]!r}? Begin its name with '_' if it is a method of your own"
                )
                warnings.warn(msg, UserWarning, stacklevel=2)

    def setup(self) -> None:
        """Prepare; `self.trainer` is there, and a saved state is loaded."""

    def before_train(self) -> None:
        """Called once, when every callback is set up."""

    def before_epoch(self) -> None:
        """Called before each epoch."""

    def after_step(self) -> None:
        """Called after each step; `self.trainer.step` counts it."""

    def after_epoch(self) -> None:
        """Called after each epoch; `self.trainer.epoch` counts it."""

    def trigger(self) -> None:
        """Called when `every` is due."""

    def on_metrics(self, record: Record, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Called when an evaluation has a result.

        Args:
            record: runner, step, epoch and scalars; the same on every rank.
            weights: gives the weights that were examined, tensors by name.
        """

    def after_train(self) -> None:
        """Called once at the end, after an error too, even if that of another callback failed."""

    def on_exception(self, error: BaseException) -> None:
        """Called when the training ends by an error, an interrupt included."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs; plain values and tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; called before `setup`."""


_HOOKS = [
    name
    for name, value in vars(Callback).items()
    if inspect.isfunction(value) and not name.startswith("_")
]
