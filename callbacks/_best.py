"""The best value of a metric so far."""

import difflib
import math
import warnings
from typing import Any, final

from milepost.callbacks._better import MODES, Mode, better
from milepost.callbacks._record import Record
from milepost.errors import unknown_name


@final
class Best:
    """The best value of a metric so far, where it was reached, and the names that were seen.

    Args:
        metric: full name, such as `"validation/hit_rate@1"`.
        mode: whether the largest or the smallest value is the best; None: as its name tells.
        min_delta: a better value is better by more than this.

    Attributes:
        value: the best value; None before the first finite one.
        step: where it was reached.
        epoch: where it was reached.
    """

    def __init__(self, metric: str, mode: Mode | None, min_delta: float = 0.0) -> None:
        if "/" not in metric:
            msg = f"`metric` must be a full name such as 'validation/hit_rate@1', got {metric!r}"
            raise ValueError(msg)
        if not 0 <= min_delta < math.inf:
            msg = f"`min_delta` must be 0 or more, got {min_delta!r}"
            raise ValueError(msg)
        self.metric = metric
        self.value: float | None = None
        self.step: int | None = None
        self.epoch: int | None = None
        self._mode = _mode_of(metric, mode)
        self._min_delta = min_delta
        self._seen: set[str] = set()
        self._warned = False

    def offer(self, record: Record) -> bool | None:
        """Take a record; return whether it holds a new best, None if it holds no such metric.

        NaN and infinity are never the best.
        """
        self._seen.update(record.scalars)
        value = record.scalars.get(self.metric)
        if value is None:
            self._warn_of_a_typo(record)
            return None
        if not math.isfinite(value) or not self._is_better(value):
            return False
        self.value, self.step, self.epoch = value, record.step, record.epoch
        return True

    def _warn_of_a_typo(self, record: Record) -> None:
        """Warn at the first record of the metric's own runner that lacks it: not hours later."""
        own = record.runner is not None and self.metric.startswith(f"{record.runner}/")
        if own and self.metric not in self._seen and not self._warned:
            self._warned = True
            warnings.warn(str(unknown_name("metric", self.metric, self._seen)), stacklevel=2)

    def excuse(self) -> None:
        """Take the training for cut short: that the metric never came needs no warning."""
        self._warned = True

    def warn_if_never_seen(self, who: str) -> None:
        """Warn if no record held the metric, with the nearest name that was there."""
        if self.metric in self._seen or self._warned:
            return
        nearest = difflib.get_close_matches(self.metric, self._seen, n=1)
        the = f"did you mean {nearest[0]!r}? The" if nearest else "the"
        there_were = ", ".join(map(repr, sorted(self._seen))) or "none"
        msg = f"{who} never saw {self.metric!r}; {the} metrics were: {there_were}"
        warnings.warn(msg, UserWarning, stacklevel=2)

    def warn_if_never_finite(self, who: str) -> None:
        """Warn if the metric was there and never a number, so that nothing is the best."""
        if self.metric in self._seen and self.value is None and not self._warned:
            msg = f"{who} never saw a finite value of {self.metric!r}"
            warnings.warn(msg, UserWarning, stacklevel=2)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and where it was; the names that were seen."""
        place = {"value": self.value, "step": self.step, "epoch": self.epoch}
        return {**place, "seen": sorted(self._seen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.value, self.step, self.epoch = state["value"], state["step"], state["epoch"]
        self._seen = set(state["seen"])

    def _is_better(self, value: float) -> bool:
        if self.value is None:
            return True
        gain = value - self.value if self._mode == "max" else self.value - value
        return gain > self._min_delta


def _mode_of(metric: str, mode: Mode | None) -> Mode:
    """Return the mode that was given, or else that of the metric's name."""
    if mode not in ("max", "min", None):
        msg = f"`mode` must be 'max' or 'min', got {mode!r}"
        raise ValueError(msg)
    mode = mode or better(metric)
    if mode is None:
        base = metric.rpartition("/")[2].partition("@")[0]
        nearest = difflib.get_close_matches(base, MODES, n=1, cutoff=0.75)
        hint = f"; did you mean {nearest[0]!r}?" if nearest and base not in MODES else ""
        msg = f"`mode` must be 'max' or 'min' for {metric!r}, whose name does not tell, got None"
        raise ValueError(msg + hint)
    return mode
