"""The weights that a metric liked best."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from milepost.callbacks._best import Best
from milepost.callbacks._better import Mode
from milepost.callbacks._callback import Callback
from milepost.callbacks._record import Record
from milepost.callbacks._weights_file import save_weights


@final
class KeepBest(Callback):
    """Keeps the weights with the best value of a metric in a safetensors file.

    They are those that were examined, whichever place this callback has in the list. The file is
    replaced in one piece, by the chief alone; a killed training leaves the old one or the new one.
    Its header holds metric, value, step and epoch. A tie keeps the earlier weights, and NaN and
    infinity are never the best. Memory: a copy of those tensors that share theirs.

    Args:
        metric: full name, such as `"validation/hit_rate@1"`.
        mode: `"max"`, or `"min"` where smaller is better; None: as the metric's name tells.
        path: the file; `best.safetensors` in the run's folder by default.

    Raises:
        ValueError: the metric is no full name, or its name does not tell its mode.

    Attributes:
        path: the file; from `setup` on if it is in the run's folder.
    """

    def __init__(
        self, metric: str, *, mode: Mode | None = None, path: str | Path | None = None
    ) -> None:
        self._best = Best(metric, mode)
        self._given_path = path
        self.path = None if path is None else Path(path)

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self._best.value

    @property
    def best_step(self) -> int | None:
        """The step of the best value."""
        return self._best.step

    def setup(self) -> None:
        """Choose the file.

        Raises:
            ValueError: there is neither a `path` nor a folder of the run.
        """
        if self._given_path is None:
            if self.trainer.rundir is None:
                msg = "KeepBest needs a place: give it a `path`, or the training a `rundir`"
                raise ValueError(msg)
            self.path = Path(self.trainer.rundir) / "best.safetensors"
        if self.path is not None and self.trainer.world.is_chief:
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def on_metrics(self, record: Record, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Keep the weights if the record has a new best."""
        if not self._best.offer(record):
            return
        examined = weights()  # on every rank: a sharded model is put together
        if self.trainer.world.is_chief and self.path is not None:
            best = self._best
            header = {"metric": best.metric, "value": repr(best.value)}
            header |= {"step": str(best.step), "epoch": str(best.epoch)}
            save_weights(self.path, examined, header)

    def on_exception(self, error: BaseException) -> None:
        """Expect no metric any more."""
        self._best.excuse()

    def after_train(self) -> None:
        """Warn if there are no best weights: the metric never came, or was never a number."""
        self._best.warn_if_never_seen("KeepBest")
        self._best.warn_if_never_finite("KeepBest")

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and where it was."""
        return self._best.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken: a resumed training keeps the best of both."""
        self._best.load_state_dict(state)
