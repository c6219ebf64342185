"""The sections of the page, in its order."""

from collections.abc import Callable

from milepost._report._changed import changed_queries
from milepost._report._classes import classes
from milepost._report._confusion import confusion
from milepost._report._coverage import coverage
from milepost._report._curves import curves
from milepost._report._environment import environment
from milepost._report._errors import errors
from milepost._report._health import health
from milepost._report._map import embedding_map
from milepost._report._reliability import reliability
from milepost._report._run_files import RunFiles
from milepost._report._section import Section
from milepost._report._summary import summary
from milepost._report._thresholds import thresholds
from milepost._report._timings import timings
from milepost._report._worst import worst_queries
from milepost._report._worst_samples import worst_samples

SECTIONS: tuple[Callable[[RunFiles], Section | None], ...] = (
    *(summary, curves),
    *(worst_queries, worst_samples, changed_queries),
    *(thresholds, classes, confusion, reliability),
    *(embedding_map, health),
    *(timings, coverage, environment, errors),
)
"""Each gives its section, or None where the run holds nothing for it."""
