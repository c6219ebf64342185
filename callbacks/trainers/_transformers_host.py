"""What a `transformers.Trainer` keeps from its callbacks: itself, and the error that ends it."""

import sys
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, final

from transformers import Trainer

_EPOCH = "_run_epoch"  # all that an error of the loop may come from; not every version has it
_PARTS = ("get_batch_samples", "training_step", "_maybe_log_save_evaluate")


@final
class TransformersHost:
    """The `Trainer` whose `train` runs; made by one of its callbacks, when the training begins.

    Attributes:
        trainer: the `Trainer`.
        resumed_from: the checkpoint that the training goes on from; None if it starts afresh.
    """

    def __init__(self) -> None:
        frame = _frame_of_train()
        self.trainer: Trainer = frame.f_locals["self"]
        self.resumed_from: str | None = frame.f_locals.get("resume_from_checkpoint")
        token = frame.f_locals["milepost"] = _Token()  # dies with the frame
        self._token = weakref.ref(token)
        self._death: Any = None
        self._undo: list[Callable[[], object]] = []

    def put_first(self, callback: Any) -> None:
        """Move a callback in front of all others but the one that says when to evaluate."""
        callbacks = self.trainer.callback_handler.callbacks
        place = callbacks.index(callback)
        callbacks.insert(min(place, 1), callbacks.pop(place))

    def watch(
        self, ended: Callable[[BaseException], object], before_best: Callable[[], object]
    ) -> None:
        """Tell of the end of the training.

        Args:
            ended: is called with the error that ends it: at once if it comes from a callback, the
                data, a step, an evaluation or a checkpoint; else when nobody holds its traceback.
            before_best: is called before the best weights take the place of the last.
        """
        trainer = self.trainer
        names = [_EPOCH] if hasattr(trainer, _EPOCH) else _PARTS
        for owner, name in [
            (trainer.callback_handler, "call_event"),
            *((trainer, x) for x in names),
        ]:
            self._replace(owner, name, _watched(getattr(owner, name), ended))
        load_best = trainer._load_best_model
        self._replace(trainer, "_load_best_model", lambda: (before_best(), load_best())[1])
        self._death = weakref.finalize(self._token(), _tell_of_death, ended)

    def close(self) -> None:
        """Give everything back as it was."""
        if self._death is not None:
            self._death.detach()
        while self._undo:
            self._undo.pop()()

    def is_handed_metrics(self, metrics: Mapping[str, float]) -> bool:
        """Whether an evaluation is handed our metrics: of several data sets, the first alone.

        `EarlyStoppingCallback` counts every evaluation that it finds its metric in.
        """
        datasets = self.trainer.eval_dataset
        return not isinstance(datasets, dict) or f"eval_{next(iter(datasets))}_runtime" in metrics

    def checkpoint(self) -> Path:
        """Return the folder of the checkpoint that is saved at this step."""
        trainer = self.trainer
        folder = trainer._get_output_dir(getattr(trainer, "_trial", None))
        return Path(folder) / f"checkpoint-{trainer.state.global_step}"

    def _replace(self, owner: Any, name: str, call: Callable[..., Any]) -> None:
        own = vars(owner)
        is_own = name in own
        undo = partial(own.update, {name: own[name]}) if is_own else partial(own.pop, name, None)
        self._undo.append(undo)
        setattr(owner, name, call)


class _Token:
    """What lives as long as the frame that it lies in."""


def _frame_of_train() -> FrameType:
    """Return the frame of the `Trainer` that calls its callbacks."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not isinstance(frame.f_locals.get("self"), Trainer):
        frame = frame.f_back
    if frame is None:
        msg = "no `transformers.Trainer` calls; in a loop of your own use `milepost.Loop`"
        raise RuntimeError(msg)
    return frame


def _watched(
    call: Callable[..., Any], ended: Callable[[BaseException], object]
) -> Callable[..., Any]:
    def watched(*args: Any, **options: Any) -> Any:
        try:
            return call(*args, **options)
        except BaseException as error:
            ended(error)
            raise

    return watched


def _tell_of_death(ended: Callable[[BaseException], object]) -> None:
    ended(sys.exc_info()[1] or RuntimeError("`train` ended by an error"))
