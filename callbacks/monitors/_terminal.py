"""Records for people, on the terminal."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO, final

from tqdm import tqdm

from milepost.callbacks._record import Record
from milepost.callbacks.monitors._monitor import Monitor


@final
class Terminal(Monitor):
    """Prints a small table for each evaluation, with the latest scalars of the training.

    A progress bar of tqdm stays whole. Scalars that the training logs are not printed as they
    come; timings are not printed, except for the samples a second; pictures and histograms
    are not either.

    Args:
        file: where to print; standard output by default.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._training: dict[str, float] = {}

    def write(self, record: Record) -> None:
        """Print an evaluation; keep what the training logs for the next one."""
        if record.runner is None and record.error is None:
            self._training.update(record.scalars)
            return
        if record.is_visual:
            return
        self._print(_headline(record))
        if record.error is None:
            prefix = f"{record.runner}/"
            scalars = [(name.removeprefix(prefix), v) for name, v in record.scalars.items()]
            width = shutil.get_terminal_size((100, 24)).columns
            for line in _columns([*scalars, *self._training.items()], width):
                self._print(line)

    def _print(self, line: str) -> None:
        file = self._file or sys.stdout
        encoding = file.encoding or "utf-8"
        tqdm.write(line.encode(encoding, "replace").decode(encoding), file=file)

    def __repr__(self) -> str:
        return "Terminal()"


def _headline(record: Record) -> str:
    """One line: who, where in the training, how long; or why not."""
    words = [record.runner or "train"]
    words += [] if record.epoch is None else [f"epoch {record.epoch}"]
    words += [] if record.step is None else [f"step {record.step}"]
    words += [] if record.elapsed_s is None else [_duration(record.elapsed_s)]
    for name, value in record.timings.items():
        if name.rpartition("/")[2] == "samples_per_s":
            words.append(f"{value:,.0f} samples/s")
    if record.error is not None:
        words.append("failed: " + " ".join(record.error.split()))
    return "  ".join(words)


def _columns(scalars: Sequence[tuple[str, float]], width: int) -> Iterator[str]:
    """Names and values in columns of one width, as many as fit, filled down."""
    texts = [(name, _number(value)) for name, value in scalars]
    name_width = max((len(name) for name, _ in texts), default=0)
    value_width = max((len(value) for _, value in texts), default=0)
    cells = [f"{name:<{name_width}} {value:>{value_width}}" for name, value in texts]
    rows = -(-len(cells) // max(1, (width + 1) // (name_width + value_width + 4)))
    for row in range(rows):
        yield "  " + "   ".join(cells[row::rows])


def _number(value: float) -> str:
    """Whole numbers as they are; four decimals where they say something, else four digits."""
    if abs(value) < 1e6 and value == int(value):
        return str(int(value))
    if 1e-3 <= abs(value) < 1e3:
        return f"{value:.4f}"
    return f"{value:.4g}"


def _duration(seconds: float) -> str:
    """Seconds as people read them: `12.3 s`, `3:05 min`, `2:03:05 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{second:02} min"
    return f"{minutes // 60}:{minutes % 60:02}:{second:02} h"
