"""What went wrong."""

from milepost._report._numbers import count
from milepost._report._page import fill
from milepost._report._run_files import RunFiles
from milepost._report._section import Section

_MOST = 50


def errors(run: RunFiles) -> Section | None:
    """Return the evaluations that failed, and what of the folder could not be read."""
    if not (run.failures or run.problems):
        return None
    rows = [[each.runner, count(each.step), each.error] for each in run.failures[-_MOST:]]
    hidden = len(run.failures) - len(rows)
    html = fill("errors.html", rows=rows, hidden=hidden, problems=run.problems)
    return Section("errors", "Errors", html)
