"""A trainer for an evaluation outside any training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from milepost.callbacks import Record, World
from milepost.callbacks.monitors import Monitors
from milepost.predictors import Predictor, get_predictor


@final
@dataclass(frozen=True)
class Standalone:
    """What a runner needs of a trainer, around a model and the counts that the caller knows."""

    model: Any
    world: World
    step: int = 0
    epoch: int = 0
    elapsed_s: float = 0.0
    ema: Any = None
    rundir: Path | None = None
    monitors: Monitors = field(default_factory=lambda: Monitors([]))

    @property
    def takes_tables(self) -> bool:
        """Whether a monitor looks at the tables of records."""
        return self.monitors.takes_tables

    def get_predictor(
        self,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str | int] | None = None,
        *,
        device: Any = None,
        weights: Literal["live", "ema", "snapshot"] = "live",
    ) -> Predictor:
        """Return the model in inference mode."""
        return get_predictor(
            self.model, inputs, outputs, device=device, weights=weights, ema=self.ema
        )

    def publish(self, record: Record, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Log the record."""
        self.monitors.write(record)

    def request_stop(self, reason: str) -> None:
        """Do nothing: there is no training to stop."""
