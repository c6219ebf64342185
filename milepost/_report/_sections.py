"""The sections of the page, in its order."""

from collections.abc import Callable

from milepost._report._curves import curves
from milepost._report._run_files import RunFiles
from milepost._report._section import Section

SECTIONS: tuple[Callable[[RunFiles], Section | None], ...] = (curves,)
"""Each gives its section, or None where the run holds nothing for it."""
