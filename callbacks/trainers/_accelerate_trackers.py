"""The trackers of an accelerator as a monitor."""

from typing import Any, final

from milepost.callbacks._record import Record
from milepost.callbacks.monitors import MLflow, Monitor, Monitors, WandB


@final
class Trackers(Monitor):
    """Gives records to the trackers that an accelerator has.

    The runs that its trackers of Weights & Biases and MLflow have started are written to by
    `WandB` and `MLflow`, as those would. Any other tracker gets scalars and timings, and pictures
    if it takes any, as TensorBoard, Trackio, SwanLab, Aim and ClearML do. One that fails does not
    keep a record from the others.

    Args:
        accelerator: its trackers are asked for when the training begins.
    """

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self._trackers = Monitors()

    def open(self) -> None:
        """Find the trackers."""
        self._trackers = Monitors(_monitor(tracker) for tracker in self._accelerator.trackers)
        self._trackers.open()
        self.takes_tables = self._trackers.takes_tables
        self.takes_pictures = self._trackers.takes_pictures

    def write(self, record: Record) -> None:
        """Give each what it takes."""
        self._trackers.write(record)

    def close(self) -> None:
        """Leave the runs as they are, open."""
        self._trackers.close()

    def __repr__(self) -> str:
        return "Trackers(accelerator)"


def _monitor(tracker: Any) -> Monitor:
    """Return what writes to a tracker."""
    own: dict[str, type[WandB | MLflow]] = {"wandb": WandB, "mlflow": MLflow}
    return own[tracker.name]() if tracker.name in own else _Tracker(tracker)


@final
class _Tracker(Monitor):
    """A tracker that takes what it is given through Accelerate."""

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker
        self.takes_pictures = hasattr(tracker, "log_images")

    def write(self, record: Record) -> None:
        scalars = {**record.scalars, **record.timings}
        if scalars:
            self._tracker.log(scalars, step=record.step)
        if record.pictures and self.takes_pictures:
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
