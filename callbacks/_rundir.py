"""The folder of a run."""

import tempfile
from pathlib import Path


def prepare_rundir(rundir: Path, *, new: bool = True) -> None:
    """Make the folder of a run.

    Args:
        rundir: the folder.
        new: whether it may hold no run, whose curves, tables and weights this one would mix up.

    Raises:
        OSError: it cannot be written.
        FileExistsError: it holds a run already.
    """
    try:
        rundir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=rundir):
            pass
    except OSError as error:
        msg = f"`rundir` must be a folder that can be written, got {str(rundir)!r} ({error})"
        raise OSError(msg) from error
    records = rundir / "metrics.jsonl"
    if new and records.exists() and records.stat().st_size:
        msg = (
            f"`rundir` {str(rundir)!r} holds a run already; load its state to go on with it, "
            "or choose another folder"
        )
        raise FileExistsError(msg)
