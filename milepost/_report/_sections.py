"""The sections of the page, in its order."""

from collections.abc import Callable

from milepost._report._classes import classes
from milepost._report._confusion import confusion
from milepost._report._coverage import coverage
from milepost._report._curves import curves
from milepost._report._environment import environment
from milepost._report._errors import errors
from milepost._report._health import health
from milepost._report._reliability import reliability
from milepost._report._run_files import RunFiles
from milepost._report._section import Section
from milepost._report._summary import summary
from milepost._report._thresholds import thresholds
from milepost._report._timings import timings

SECTIONS: tuple[Callable[[RunFiles], Section | None], ...] = (
    *(summary, curves),
    *(thresholds, classes, confusion, reliability),
    health,
    *(timings, coverage, environment, errors),
)
"""Each gives its section, or None where the run holds nothing for it."""
