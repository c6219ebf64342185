"""The memory of one schedule: what moved since it was last asked, and whether it has fired."""

import dataclasses
from typing import Any, final

from milepost.callbacks._moment import Moment
from milepost.callbacks._schedule import Scheduled, schedule
from milepost.callbacks._world import Solo, World


@final
class Timer:
    """Says when a callback is due; it remembers the last two moments.

    Args:
        when: the schedule, or a string or a function that means one.

    Attributes:
        spent_s: seconds that the callback has used so far.
        longest_s: the longest of its runs.

    Example:
        >>> timer = Timer("3 steps")
        >>> [step for step in (1, 2, 5, 10, 12) if timer.due(Moment(step=step))]
        [5, 10, 12]
    """

    def __init__(self, when: Scheduled) -> None:
        self.schedule = schedule(when)
        self.spent_s = 0.0
        self.longest_s = 0.0
        self._before: Moment | None = None
        self._last: Moment | None = None
        self._fired = False

    @property
    def has_fired(self) -> bool:
        """Whether the callback was triggered at the last moment."""
        return self._fired

    def due(self, now: Moment, world: World | None = None) -> bool:
        """Return whether to trigger now: at most once a moment, and the same on every rank.

        Args:
            now: this moment; what the callback spent is filled in.
            world: the processes that must agree; this one alone by default.
        """
        world = world or Solo()
        answer = self.ask(now)
        if world.size > 1 and not self.schedule.agrees:
            answer = world.broadcast(answer)
        self._fired |= answer
        return answer

    def ask(self, now: Moment) -> bool:
        """Return this process's own answer; `fire` says that it was followed."""
        last = self._last
        if last is not None and now.phase == "start":
            return False  # a resumed training goes on from the moment that it left
        if last is None or not _is_same(last, now):
            self._before = None if last is None or _is_earlier(now, last) else last
            self._fired = False
        self._last = now
        if self._fired:
            return False
        if self.spent_s:
            now = dataclasses.replace(now, spent_s=self.spent_s, longest_s=self.longest_s)
        return self.schedule.due(self._before, now)

    def fire(self) -> None:
        """Remember that the callback was triggered at this moment."""
        self._fired = True

    def spend(self, seconds: float) -> None:
        """Count what a run took; this time crosses no boundary of its own schedule."""
        self.spent_s += seconds
        self.longest_s = max(self.longest_s, seconds)
        if self._last is not None and self._last.elapsed_s is not None:
            elapsed_s = self._last.elapsed_s + seconds
            self._last = dataclasses.replace(self._last, elapsed_s=elapsed_s)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs to go on in phase; plain values only."""
        return {
            "before": None if self._before is None else dataclasses.asdict(self._before),
            "last": None if self._last is None else dataclasses.asdict(self._last),
            "fired": self._fired,
            "spent_s": self.spent_s,
            "longest_s": self.longest_s,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._before = None if state["before"] is None else Moment(**state["before"])
        self._last = None if state["last"] is None else Moment(**state["last"])
        self._fired = state["fired"]
        self.spent_s = state["spent_s"]
        self.longest_s = state["longest_s"]


def _is_same(last: Moment, now: Moment) -> bool:
    """Whether both are calls at one moment.

    A step and the end of its epoch are one moment; two epochs without a step between them are
    two, and so are any two calls where nothing is counted.
    """
    if last.step is None or now.step is None:
        return last.epoch is not None and last.epoch == now.epoch
    return last.step == now.step and (last.epoch == now.epoch or last.phase == "step")


def _is_earlier(now: Moment, last: Moment) -> bool:
    """Whether the count went back: another training, which has no history."""
    if last.step is not None and now.step is not None:
        return now.step < last.step
    return last.epoch is not None and now.epoch is not None and now.epoch < last.epoch
