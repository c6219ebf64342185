"""Records as rows of one table of comma-separated values."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO, final

from milepost.callbacks._record import Record
from milepost.callbacks.monitors._monitor import Monitor

_FIRST = ("runner", "step", "epoch", "time", "elapsed_s", "error")


@final
class Csv(Monitor):
    """Writes a record a row, with a column for each scalar: a table that spreadsheets read.

    The columns are `runner`, `step`, `epoch`, `time`, `elapsed_s`, `error`, then scalars and
    timings by their names. A name that comes later is a further column: the file is written anew
    beside the old one, which it then replaces, and rows from before have empty cells there. NaN
    and infinity are `nan` and `inf`. Pictures and histograms are left out, and so are records of
    nothing else. Each row is there for others as soon as it is written. A file that is there is
    appended to; a last row that a killed training left unfinished is dropped.

    Args:
        path: the file; its folder is made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: TextIO | None = None
        self._columns: list[str] = []

    def open(self) -> None:
        """Open the file."""
        self._opened()

    def write(self, record: Record) -> None:
        """Append one row."""
        if record.is_visual:
            return
        row = {name: getattr(record, name) for name in _FIRST}
        if record.error is not None:
            row["error"] = " ".join(record.error.split())  # so that a row is a line
        row |= {**record.scalars, **record.timings}
        file = self._opened()
        if new := [name for name in row if name not in self._columns]:
            self.close()
            self._columns += new
            self._write_anew(self._columns)
            file = self._opened()
        csv.writer(file, lineterminator="\n").writerow(row.get(name) for name in self._columns)
        file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> TextIO:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            header = next(self._rows(), [])
            if not header or not _ends_a_line(self.path):
                self._write_anew(header or _FIRST)
            self._columns = header or list(_FIRST)
            self._file = self.path.open("a", encoding="utf-8", errors="replace", newline="")
        return self._file

    def _rows(self) -> Iterator[list[str]]:
        """Give the finished rows of the file, the header first."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace", newline="") as file:
            yield from csv.reader(line for line in file if line.endswith("\n"))

    def _write_anew(self, columns: Sequence[str]) -> None:
        """Write the rows that there are under a header of more columns."""
        part = self.path.with_name(f"{self.path.name}.part")
        with part.open("w", encoding="utf-8", errors="replace", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            rows = self._rows()
            next(rows, None)
            writer.writerows(row + [""] * (len(columns) - len(row)) for row in rows)
        part.replace(self.path)

    def __repr__(self) -> str:
        return f"Csv({str(self.path)!r})"


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() == b"\n"
