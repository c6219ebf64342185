"""Lightning's callbacks that act on a metric, and what they may see of ours."""

import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, final

from milepost.callbacks._callback import Callback
from milepost.callbacks._record import Record

_HOOKS = ("on_train_batch_end", "on_train_epoch_end", "on_validation_end")


@final
class Watchers:
    """Lets callbacks of Lightning that monitor a metric of ours look where there is a new value.

    Lightning keeps the last value of every metric. A `ModelCheckpoint` would take it for that of
    the weights at hand, so it looks at the step at which it was measured alone. Any other, such as
    `EarlyStopping`, would count it twice, so it looks once at each. Neither looks before the first
    value. A name that our callbacks turn out not to measure is left to Lightning.

    Args:
        callbacks: ours.

    Attributes:
        measured: at which step each metric was last measured.
    """

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self._ours = list(callbacks)
        self.measured: dict[str, int] = {}
        self._reported: set[str | None] = set()
        self._seen: dict[tuple[int, str], int] = {}
        self._guarded: list[Any] = []

    def open(self, trainer: Any) -> None:
        """Guard the hooks of the trainer's callbacks that monitor a metric."""
        self.measured, self._reported, self._seen = {}, set(), {}
        self._guarded = [x for x in trainer.callbacks if isinstance(_monitor(x), str)]
        for callback in self._guarded:
            for hook in _HOOKS:
                call = partial(self._call, callback, hook, getattr(callback, hook))
                setattr(callback, hook, call)

    def note(self, record: Record, step: int) -> None:
        """Take what was measured, and at which step."""
        self._reported.add(record.runner)
        self.measured.update(dict.fromkeys(record.scalars, step))

    def close(self) -> None:
        """Give the hooks back."""
        guarded, self._guarded = self._guarded, []
        for callback in guarded:
            for hook in _HOOKS:
                vars(callback).pop(hook, None)  # another trainer of ours may have done it

    def warn_of_idle(self) -> None:
        """Warn of checkpoints that found no value at any step at which they looked."""
        for callback in self._guarded:
            name = _monitor(callback)
            if name in self.measured and getattr(callback, "best_model_path", None) == "":
                msg = (
                    f"{type(callback).__name__}(monitor={name!r}) kept no checkpoint: it never "
                    f"looked at a step at which this was measured, such as {self.measured[name]}; "
                    "let both happen at the same steps"
                )
                warnings.warn(msg, UserWarning, stacklevel=2)

    def _call(
        self, callback: Any, hook: str, call: Callable[..., Any], trainer: Any, *more: Any
    ) -> None:
        if self._may_look(callback, hook, trainer):
            call(trainer, *more)

    def _may_look(self, callback: Any, hook: str, trainer: Any) -> bool:
        name = _monitor(callback)
        step = self.measured.get(name)
        if step is None:
            return name in trainer.callback_metrics or not self._is_awaited(name)
        if hasattr(callback, "best_model_path"):
            return bool(step == trainer.global_step)
        is_new = self._seen.get((id(callback), hook)) != step
        self._seen[id(callback), hook] = step
        return is_new

    def _is_awaited(self, name: str) -> bool:
        """Whether a callback of ours that has not reported yet may still measure it."""
        names = {getattr(callback, "name", None) for callback in self._ours} - self._reported
        return any(isinstance(own, str) and name.startswith(f"{own}/") for own in names)


def _monitor(callback: Any) -> Any:
    return getattr(callback, "monitor", None)
