"""The trackers of an accelerator as a monitor."""

from typing import Any, final

from milepost.callbacks._record import Record
from milepost.callbacks.monitors import Monitor, Monitors


@final
class Trackers(Monitor):
    """Gives scalars, timings and pictures to the trackers that an accelerator has.

    Pictures go to those that take any: TensorBoard, W&B, Trackio, SwanLab, Aim, ClearML. One that
    fails does not keep a record from the others.

    Args:
        accelerator: its trackers are asked for when the training begins.
    """

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self._trackers = Monitors()

    def open(self) -> None:
        """Find the trackers."""
        self._trackers = Monitors(_Tracker(tracker) for tracker in self._accelerator.trackers)

    def write(self, record: Record) -> None:
        """Give each what it takes."""
        self._trackers.write(record)

    def __repr__(self) -> str:
        return "Trackers(accelerator)"


@final
class _Tracker(Monitor):
    """One of them."""

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker

    def write(self, record: Record) -> None:
        scalars = {**record.scalars, **record.timings}
        if scalars:
            self._tracker.log(scalars, step=record.step)
        if record.pictures and hasattr(self._tracker, "log_images"):
            self._log_pictures(record)

    def _log_pictures(self, record: Record) -> None:
        """Log the pictures: each tracker calls for another shape."""
        name, options = self._tracker.name, {"step": record.step}
        if name == "tensorboard":
            several = {key: x[None] for key, x in record.pictures.items()}
            self._tracker.log_images(several, dataformats="NHWC", **options)
        elif name in ("aim", "clearml"):
            self._tracker.log_images(dict(record.pictures), **options)
        else:
            self._tracker.log_images({key: [x] for key, x in record.pictures.items()}, **options)

    def __repr__(self) -> str:
        return f"the tracker {self._tracker.name!r}"
