"""Where the training stands.

A moment is a step of the training: what happens after its last update, at the end of the epoch it
closes and at the end of the training is all one moment, at which a callback is triggered once at
most.
"""

import dataclasses
from typing import Literal, TypeAlias, final

Phase: TypeAlias = Literal["start", "step", "epoch", "end"]


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """Where the training stands; a clock that nobody gave is None.

    Args:
        step: steps completed.
        epoch: epochs completed.
        elapsed_s: seconds of training so far.
        phase: before the first step, after a step, after an epoch, or after the last step.
        spent_s: seconds that the callback in question has used so far.
        longest_s: the longest of its runs.
    """

    step: int | None = None
    epoch: int | None = None
    elapsed_s: float | None = None
    phase: Phase = "step"
    spent_s: float = 0.0
    longest_s: float = 0.0
