"""What a callback works with, whichever framework trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from milepost.callbacks._record import Record
from milepost.callbacks._world import World

if TYPE_CHECKING:
    from milepost.callbacks.monitors._monitors import Monitors
    from milepost.predictors import Predictor


class Trainer(Protocol):
    """The training as a callback sees it: `Loop` is one, and each adapter gives one."""

    @property
    def model(self) -> Any:
        """The model in training, as the user gave it."""

    @property
    def ema(self) -> Any:
        """A module that holds averaged weights; None if there is none."""

    @property
    def monitors(self) -> Monitors:
        """Where records go; `get_latest` and `get_history` of a metric work on every rank."""

    @property
    def world(self) -> World:
        """The processes that train together."""

    @property
    def rundir(self) -> Path | None:
        """The folder of this training's files; None if it has none."""

    @property
    def step(self) -> int:
        """Steps completed."""

    @property
    def epoch(self) -> int:
        """Epochs completed."""

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far, those before a resume included."""

    @property
    def takes_tables(self) -> bool:
        """Whether a monitor or a callback looks at the tables of records."""

    def get_predictor(
        self,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str | int] | None = None,
        *,
        device: Any = None,
        weights: Literal["live", "ema", "snapshot"] = "live",
    ) -> Predictor:
        """Return the model in inference mode, at any time in training."""

    def publish(self, record: Record, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Log the record of an evaluation, and show it to every callback.

        Every rank calls it, with the same record; the chief's monitors write it.
        """

    def request_stop(self, reason: str) -> None:
        """End the training after this step; every rank calls it."""
