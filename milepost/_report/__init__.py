"""The report on a run: one page that holds all it shows."""

from importlib.util import find_spec as _find_spec

from milepost.errors import missing_extra as _missing_extra

for _package in ("jinja2", "matplotlib"):
    if _find_spec(_package) is None:
        raise _missing_extra(_package, "report")

from milepost._report._live import follow as follow  # noqa: E402 - these need them
from milepost._report._report import report as report  # noqa: E402
