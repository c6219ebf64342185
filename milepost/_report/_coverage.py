"""Whether everything was examined."""

from collections.abc import Sequence

from milepost._report._numbers import NOTHING, count
from milepost._report._page import fill
from milepost._report._run_files import Evaluation, RunFiles
from milepost._report._section import Section

_LEFT_OUT = ("queries_without_relevant", "queries_without_judgements")


def coverage(run: RunFiles) -> Section | None:
    """Return how many samples each evaluation examined."""
    rows = []
    for runner in run.runners:
        each = run.evaluations.get(runner, [])
        failed = sum(failure.runner == runner for failure in run.failures)
        roles = dict.fromkeys(role for one in each for role in one.coverage) or {NOTHING: None}
        rows += [
            [
                *(runner, role, _range([one.coverage.get(role) for one in each])),
                *(count(len(each)), count(failed), _left_out(each)),
            ]
            for role in roles
        ]
    if not rows:
        return None
    return Section("coverage", "Coverage", fill("coverage.html", rows=rows))


def _left_out(evaluations: Sequence[Evaluation]) -> str:
    """Return how many queries the last evaluation left out of its means."""
    last = evaluations[-1].metrics if evaluations else {}
    counts = [value for name, value in last.items() if name.rpartition("/")[2] in _LEFT_OUT]
    return count(max(counts)) if counts else NOTHING


def _range(counts: Sequence[int | None]) -> str:
    there = [each for each in counts if each is not None]
    if not there:
        return NOTHING
    least, most = min(there), max(there)
    return count(most) if least == most else f"{count(least)} to {count(most)}"
