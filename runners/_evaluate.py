"""One evaluation, outside any training."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from milepost.callbacks import Solo, World, current_world, prepare_rundir
from milepost.callbacks.monitors import Monitors, file_monitors
from milepost.inferencers import Inferencer
from milepost.runners._runner import InferenceRunner
from milepost.runners._standalone import Standalone
from milepost.runners._together import agree


def evaluate(
    model: Any,
    data: Any,
    inferencers: Sequence[Inferencer],
    *,
    rundir: str | Path | None = None,
    **options: Any,
) -> dict[str, float]:
    """Return the metrics of one run over the data.

    Args:
        model: the model; None where the batches hold all that the inferencers fetch.
        data: as for `InferenceRunner`.
        inferencers: what to compute.
        rundir: a new folder for the metrics (`metrics.jsonl`) and the evidence (`tables`).
        **options: those of `InferenceRunner`, but for `every` and `on_error`; and `ema`, the
            averaged model for `weights="ema"`.

    Raises:
        EvaluationError: the evaluation did not complete.
        ValueError: an argument is out of range.
        FileExistsError: `rundir` holds a run already.

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
    with closing(world), closing(agree(world, lambda: _monitors(rundir, world))) as monitors:
        return runner.run(Standalone(model, world, ema=ema, monitors=monitors)) or {}


def _monitors(rundir: str | Path | None, world: World) -> Monitors:
    if rundir is None or not world.is_chief:
        return Monitors()
    prepare_rundir(Path(rundir))
    monitors = Monitors(file_monitors(Path(rundir)))
    monitors.open()
    return monitors
