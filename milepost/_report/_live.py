"""A report that follows a training."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from milepost._report._report import write_report

_REFRESH_S = 10


def follow(
    rundir: Path,
    output: Path | None,
    *,
    wait: Callable[[float], object] = time.sleep,
    every_s: float = 2.0,
) -> None:
    """Write the report whenever the run's files change, until interrupted.

    The page reads itself anew as long as this goes on; the last one written does not.

    Args:
        rundir: the folder of a run.
        output: the file; `report.html` in the folder by default.
        wait: is given the seconds between two looks.
        every_s: those seconds.
    """
    seen = None
    try:
        while True:
            state = _state(rundir)
            if state != seen:
                _write(rundir, output, _REFRESH_S)
                seen = state
            wait(every_s)
    except KeyboardInterrupt:
        _write(rundir, output, None)


def _write(rundir: Path, output: Path | None, refresh_s: int | None) -> None:
    """Write the page, once there is something to show."""
    with suppress(FileNotFoundError):
        write_report(rundir, output, refresh_s=refresh_s)


def _state(rundir: Path) -> frozenset[tuple[str, int, int]]:
    """Return what tells whether files changed that the report reads."""
    paths = [*rundir.glob("*.jsonl"), *rundir.glob("*.json"), *rundir.glob("tables/*/*/*.parquet")]
    found = set()
    for path in paths:
        with suppress(FileNotFoundError):  # it is gone meanwhile
            stat = path.stat()
            found.add((str(path), stat.st_mtime_ns, stat.st_size))
    return frozenset(found)
