"""The end of a training that gets no better."""

from collections.abc import Callable, Mapping
from typing import Any, final

from milepost.callbacks._best import Best
from milepost.callbacks._better import Mode
from milepost.callbacks._callback import Callback
from milepost.callbacks._record import Record


@final
class EarlyStop(Callback):
    """Asks the training to stop when a metric has not improved for some evaluations.

    Only evaluations that hold the metric count. NaN and infinity are never an improvement.

    Args:
        metric: full name, such as `"validation/hit_rate@1"`.
        patience: how many evaluations in a row may pass without an improvement; the last of them
            stops the training.
        min_delta: an improvement is one by more than this.
        mode: `"max"`, or `"min"` where smaller is better; None: as the metric's name tells.

    Raises:
        ValueError: an argument is out of range, or the metric's name does not tell its mode.

    Attributes:
        waited: evaluations since the last improvement.
    """

    def __init__(
        self, metric: str, *, patience: int, min_delta: float = 0.0, mode: Mode | None = None
    ) -> None:
        if not isinstance(patience, int) or patience < 1:
            msg = f"`patience` must be a whole number above 0, got {patience!r}"
            raise ValueError(msg)
        self._best = Best(metric, mode, min_delta)
        self.patience = patience
        self.waited = 0

    def on_metrics(self, record: Record, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Count the evaluation, and ask for the stop when it is the last that may pass."""
        improved = self._best.offer(record)
        if improved is None:
            return
        self.waited = 0 if improved else self.waited + 1
        if self.waited >= self.patience:
            best = self._best
            was = "it was never finite"
            if best.value is not None:
                was = f"the best was {best.value} at step {best.step}"
            self.trainer.request_stop(
                f"{best.metric} has not improved for {self.waited} evaluations; {was}"
            )

    def on_exception(self, error: BaseException) -> None:
        """Expect no metric any more."""
        self._best.excuse()

    def after_train(self) -> None:
        """Warn if the metric never came."""
        self._best.warn_if_never_seen("EarlyStop")

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and the count."""
        return {"best": self._best.state_dict(), "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._best.load_state_dict(state["best"])
        self.waited = state["waited"]
