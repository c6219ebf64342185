"""The predictor for batches that hold all that is needed."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, final

from milepost.predictors._options import Inputs, Outputs
from milepost.predictors._predictor import Predictor
from milepost.predictors._rng import preserved_rngs


@final
class NoModel(Predictor):
    """Gives no outputs; its scope preserves the global random generators."""

    device = outputs = None
    own_outputs = ()

    def forward(self, batch: Any) -> dict[str, Any]:
        return {}

    @contextlib.contextmanager
    def scope(
        self, *, trace_check: bool = False, buffers: Mapping[str, Any] | None = None
    ) -> Iterator[None]:
        with preserved_rngs():
            yield

    def fetching(self, outputs: Outputs, *, inputs: Inputs = None) -> "NoModel":
        return self

    def replicate(self, device: Any = None) -> "NoModel":
        return self

    def weights(self) -> dict[str, Any]:
        return {}

    def has_inner(self, name: str) -> bool:
        return False

    def buffers(self) -> dict[str, Any]:
        return {}
