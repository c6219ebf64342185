"""A run's report, written to a file."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from milepost._report._run_files import RunFiles
from milepost.errors import missing_extra

if TYPE_CHECKING:
    from milepost._report._section import Section


def report(rundir: str | Path, output: str | Path | None = None) -> Path:
    """Write one page that shows a run, and return its path.

    The page holds all that it shows: it needs no server and no network, and can be sent by mail.
    A training that goes on is shown as far as it is.

    Args:
        rundir: the folder of a run.
        output: the file; `report.html` in the folder by default.

    Raises:
        ImportError: the extra `report` is not installed.
        FileNotFoundError: the folder holds no run.
        OSError: the file cannot be written.
    """
    return write_report(Path(rundir), None if output is None else Path(output))


def write_report(rundir: Path, output: Path | None, *, refresh_s: int | None = None) -> Path:
    """Write the page in one piece; see `report` and `page`."""
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise missing_extra(package, "report")
    from milepost._report._page import page
    from milepost._report._sections import SECTIONS
    from milepost._report._summary import header

    run = RunFiles(rundir)
    path = output or rundir / "report.html"
    if path.is_dir():
        msg = f"`output` must be a file, got the folder {str(path)!r}"
        raise IsADirectoryError(msg)
    sections = [section for make in SECTIONS if (section := _made(make, run)) is not None]
    html = page(f"{run.name} - Milepost", header(run), sections, refresh_s=refresh_s)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(html, encoding="utf-8", errors="replace")
    part.replace(path)
    return path


def _made(make: Callable[[RunFiles], "Section | None"], run: RunFiles) -> "Section | None":
    """Return a section; one that cannot be made is named among the errors, and the rest is shown.

    A table of somebody else's may have the name of one of ours, and other columns.
    """
    try:
        return make(run)
    except Exception as error:
        run.note(f"the section {make.__name__} failed ({type(error).__name__}: {error})")
        return None
