"""One evaluation, outside any training."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from milepost.callbacks import Solo, current_world
from milepost.inferencers import Inferencer
from milepost.runners._runner import InferenceRunner
from milepost.runners._standalone import Standalone


def evaluate(
    model: Any,
    data: Any,
    inferencers: Sequence[Inferencer],
    **options: Any,
) -> dict[str, float]:
    """Return the metrics of one run over the data.

    Args:
        model: the model; None where the batches hold all that the inferencers fetch.
        data: as for `InferenceRunner`.
        inferencers: what to compute.
        **options: those of `InferenceRunner`, but for `every` and `on_error`; and `ema`, the
            averaged model for `weights="ema"`.

    Raises:
        EvaluationError: the evaluation did not complete.
        ValueError: an argument is out of range.

    Example:
        >>> import numpy as np
        >>> from milepost.inferencers import ScalarStats
        >>> evaluate(None, {"loss": np.array([1.0, 2.0, 6.0])}, [ScalarStats("loss")])
        {'validation/loss': 3.0}
    """
    for name in ("every", "on_error"):
        if name in options:
            msg = (
                f"`{name}` is for a runner in a training; evaluate runs once, and raises its error"
            )
            raise TypeError(msg)
    ema = options.pop("ema", None)
    runner = InferenceRunner(data, inferencers, **options)
    world = Solo() if options.get("placement") == "local" else current_world()
    with closing(world):
        return runner.run(Standalone(model, world, ema=ema)) or {}
