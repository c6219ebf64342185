"""Records as lines of JSON."""

import json
import math
from collections.abc import Mapping
from io import BufferedWriter
from pathlib import Path
from typing import final

from milepost.callbacks._record import Record
from milepost.callbacks.monitors._monitor import Monitor


@final
class JsonLines(Monitor):
    """Writes a record a line: flat objects, which any tool for JSON lines reads.

    A line holds `runner`, `step`, `epoch`, `time`, `elapsed_s`, the scalars and timings by their
    names, `coverage/<role>` (how many samples of a role were examined), and `error` if there is
    one. NaN and infinity are null. Pictures and histograms are left out, and so are records of
    nothing else. Each line is there for others as soon as it is written. A file that is there is
    appended to; a last line that a killed training left unfinished stays as it is, on a line of
    its own.

    Args:
        path: the file; its folder is made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: BufferedWriter | None = None

    def open(self) -> None:
        """Open the file."""
        self._opened()

    def write(self, record: Record) -> None:
        """Append one line."""
        if record.is_visual:
            return
        line = {
            "runner": record.runner,
            "step": record.step,
            "epoch": record.epoch,
            "time": record.time,
            "elapsed_s": record.elapsed_s,
            **_finite(record.scalars),
            **_finite(record.timings),
            **{f"coverage/{role}": count for role, count in record.coverage.items()},
        }
        if record.error is not None:
            line["error"] = record.error
        file = self._opened()
        file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> BufferedWriter:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
            if self._file.tell() and not _ends_a_line(self.path):
                self._file.write(b"\n")
        return self._file

    def __repr__(self) -> str:
        return f"JsonLines({str(self.path)!r})"


def _finite(scalars: Mapping[str, float]) -> dict[str, float | None]:
    return {name: float(value) if math.isfinite(value) else None for name, value in scalars.items()}


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() == b"\n"
