"""Records in TensorBoard's event files."""

import itertools
import os
import socket
import time
from pathlib import Path
from typing import Any, final

from milepost.callbacks._record import Array, Record
from milepost.callbacks.monitors._bins import binned
from milepost.callbacks.monitors._images import encode_png
from milepost.callbacks.monitors._monitor import Monitor
from milepost.errors import missing_extra


@final
class TensorBoard(Monitor):
    """Writes an event file, which TensorBoard shows as it grows.

    Scalars, timings, errors (as texts), pictures and histograms (of 64 bins, without NaN and
    infinity) are written. It needs the package `tensorboard`, and neither torch nor TensorFlow. The
    tags are the names as they are, as far as UTF-8 can hold them. A record without a step takes
    its own number.

    Args:
        logdir: the folder; each run of a program adds a file of its own.
    """

    takes_pictures = True

    def __init__(self, logdir: str | Path) -> None:
        self.logdir = Path(logdir)
        self._writer: Any = None
        self._records = 0

    def open(self) -> None:
        """Make the event file.

        Raises:
            ImportError: tensorboard is not installed.
        """
        self._opened()

    def write(self, record: Record) -> None:
        """Write one event with all that the record holds."""
        writer = self._opened()
        from tensorboard.compat.proto.summary_pb2 import Summary

        step = self._records if record.step is None else record.step
        self._records += 1
        scalars = itertools.chain(record.scalars.items(), record.timings.items())
        values = [
            Summary.Value(tag=_encodable(name), simple_value=value) for name, value in scalars
        ]
        if record.error is not None:
            values.append(_text(_encodable(f"{record.runner or 'train'}/error"), record.error))
        values += [_picture(_encodable(name), x) for name, x in record.pictures.items()]
        values += [_histogram(_encodable(name), x) for name, x in record.histograms.items()]
        _write_event(writer, wall_time=record.time, step=step, summary=Summary(value=values))

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _opened(self) -> Any:
        if self._writer is None:
            try:
                from tensorboard.summary.writer.record_writer import RecordWriter
            except ImportError as error:
                raise missing_extra("tensorboard", "tensorboard") from error
            self.logdir.mkdir(parents=True, exist_ok=True)
            # its EventFileWriter would start a thread, and import TensorFlow where there is one
            self._writer = RecordWriter(_new_file(self.logdir).open("xb"))
            _write_event(self._writer, wall_time=time.time(), file_version="brain.Event:2")
        return self._writer

    def __repr__(self) -> str:
        return f"TensorBoard({str(self.logdir)!r})"


def _new_file(logdir: Path) -> Path:
    """A name that TensorBoard takes for an event file, and reads after the older ones."""
    stem = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
    names = (logdir / f"{stem}.{number}" for number in itertools.count())
    return next(name for name in names if not name.exists())


def _write_event(writer: Any, **fields: Any) -> None:
    from tensorboard.compat.proto.event_pb2 import Event

    writer.write(Event(**fields).SerializeToString())
    writer.flush()


def _text(tag: str, text: str) -> Any:
    """A value that TensorBoard shows on its page of texts."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    plugin = SummaryMetadata.PluginData(plugin_name="text")
    return Summary.Value(
        tag=tag,
        metadata=SummaryMetadata(plugin_data=plugin),
        tensor=TensorProto(dtype=DT_STRING, string_val=[text.encode("utf-8", "replace")]),
    )


def _picture(tag: str, picture: Array) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    height, width, _ = picture.shape
    image = Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=encode_png(picture)
    )
    return Summary.Value(tag=tag, image=image)


def _histogram(tag: str, values: Array) -> Any:
    from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

    counts, edges = binned(values)
    middles = (edges[1:] + edges[:-1]) / 2
    histogram = HistogramProto(
        min=edges[0],
        max=edges[-1],
        num=counts.sum(),
        sum=counts @ middles,
        sum_squares=counts @ middles**2,
        bucket_limit=edges[1:].tolist(),
        bucket=counts.tolist(),
    )
    return Summary.Value(tag=tag, histo=histogram)


def _encodable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
