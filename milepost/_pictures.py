"""The report's figures, where a training's monitors show pictures."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, final

from milepost.callbacks import Callback, Record


@final
class Pictures(Callback):
    """Draws the figures of the report after each evaluation, for monitors that show pictures.

    TensorBoard, Weights & Biases and MLflow then have, step by step, what the page of `milepost
    report` shows of one evaluation: ROC and DET curves, scores, reliability, confusion, spectrum,
    embedding map, and the queries that went worst with their neighbours, as far as there is
    evidence for them. Their names are like `"validation/roc"`, with the inferencer between where
    two have such a figure.

    Cost: where no monitor shows pictures, nothing. Else evidence is taken, and each figure takes
    about 0.1 s of the chief, that of the worst queries 0.5 s, after each evaluation. One that
    cannot be drawn does not end the training: the first failure is a warning. Memory, on the chief:
    the pictures and texts of `Items`, which gives them once in a training, of runners that rank.

    Args:
        max_memory_bytes: what they may take, about; where there are more, rows that have no room
            are shown by their ids, those of the gallery before those of queries.

    Raises:
        ValueError: `max_memory_bytes` is negative.
        ImportError: in `setup`, if a monitor shows pictures and the extra `report` is missing.

    Example:
        >>> import milepost as mp
        >>> runner = mp.InferenceRunner({"loss": [1.0, 2.0]}, [mp.ScalarStats("loss")])
        >>> loop = mp.Loop(None, callbacks=[runner, mp.Pictures()], rundir="runs/digits")
    """

    def __init__(self, *, max_memory_bytes: int = 200_000_000) -> None:
        if max_memory_bytes < 0:
            msg = f"`max_memory_bytes` must be at least 0, got {max_memory_bytes!r}"
            raise ValueError(msg)
        self._max_memory_bytes = max_memory_bytes
        self._has_failed = False

    def setup(self) -> None:
        """Load what draws, if a monitor shows pictures; what is missing is an error everywhere."""
        self.takes_tables = self.trainer.monitors.takes_pictures
        error: Exception | None = None
        try:
            if self.takes_tables:
                import milepost._report._drawings  # noqa: F401
                from milepost._report._remembered import RememberedItems

                self._items = RememberedItems(self._max_memory_bytes)  # this training's
        except ImportError as failure:
            error = failure
        self.trainer.world.raise_together(error)

    def on_metrics(self, record: Record, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Draw, and write the pictures under the step of the evaluation."""
        if not record.tables or not self.takes_tables:
            return
        try:
            pictures = self._drawn(record)
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

    def _drawn(self, record: Record) -> dict[str, Any]:
        """Return the figures of an evaluation as pixels, by full name."""
        from milepost._report._drawings import drawings
        from milepost._report._figure import as_pixels

        runner = record.runner or ""
        self._items.add(runner, record.tables)
        items = self._items.of(runner, has_gallery="gallery" in record.coverage)
        figures = drawings(record.tables, items)
        return {f"{runner}/{name}": as_pixels(figure) for name, figure in figures.items()}
