"""The report's figures, where a training's monitors show pictures."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, final

from milepost.callbacks import Callback, Record


@final
class Pictures(Callback):
    """Draws the figures of the report after each evaluation, for monitors that show pictures.

    TensorBoard, Weights & Biases and MLflow then have, step by step, what the page of `milepost
    report` shows of one evaluation: ROC and DET curves, scores, reliability, confusion, spectrum
    and embedding map, as far as there is evidence for them. Their names are like
    `"validation/roc"`, with the inferencer between where two have such a figure.

    Cost: where no monitor shows pictures, nothing. Else evidence is taken, and each figure takes
    about 0.1 s of the chief, after each evaluation. One that cannot be drawn does not end the
    training: the first failure is a warning.

    Raises:
        ImportError: in `setup`, if a monitor shows pictures and the extra `report` is missing.

    Example:
        >>> import milepost as mp
        >>> runner = mp.InferenceRunner({"loss": [1.0, 2.0]}, [mp.ScalarStats("loss")])
        >>> loop = mp.Loop(None, callbacks=[runner, mp.Pictures()], rundir="runs/digits")
    """

    def __init__(self) -> None:
        self._has_failed = False

    def setup(self) -> None:
        """Load what draws, if a monitor shows pictures; what is missing is an error everywhere."""
        self.takes_tables = self.trainer.monitors.takes_pictures
        error: Exception | None = None
        try:
            if self.takes_tables:
                import milepost._report._drawings  # noqa: F401
        except ImportError as failure:
            error = failure
        self.trainer.world.raise_together(error)

    def on_metrics(self, record: Record, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Draw, and write the pictures under the step of the evaluation."""
        if not record.tables or not self.takes_tables:
            return
        try:
            pictures = _drawn(record)
        except Exception as error:  # a picture is not worth a training
            if not self._has_failed:
                msg = f"Pictures failed ({type(error).__name__}: {error}); the training goes on"
                warnings.warn(msg, RuntimeWarning, stacklevel=2)
            self._has_failed = True
            return
        if pictures:
            shown = Record(
                runner=record.runner,
                step=record.step,
                epoch=record.epoch,
                elapsed_s=record.elapsed_s,
                pictures=pictures,
            )
            self.trainer.monitors.write(shown)


def _drawn(record: Record) -> dict[str, Any]:
    """Return the figures of an evaluation as pixels, by full name."""
    from milepost._report._drawings import drawings
    from milepost._report._figure import as_pixels

    figures = drawings(record.tables)
    return {f"{record.runner}/{name}": as_pixels(figure) for name, figure in figures.items()}
