"""Two evaluations compared query by query."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from milepost._changes import Change, Comparison
from milepost._run_tables import RunTables
from milepost.errors import unknown_name
from milepost.inferencers import Bootstrap


def compare(
    first: str | Path,
    second: str | Path,
    *,
    runner: str | None = None,
    metrics: Sequence[str] = (),
    step: int | None = None,
    bootstrap: Bootstrap | None = None,
    most: int = 5,
) -> list[Change]:
    """Return how the metrics of two runs differ, their queries paired by id.

    What is compared is what was logged. The mean over queries is drawn anew; where queries have no
    value in one of the runs, it is the mean over the others. Any other metric, such as a rate over
    pairs or a mean over classes, is drawn as its confidence interval was: both evaluations must
    have had the same `confidence`. What cannot be compared is left out; who asks for it is told
    why. The result is the same each time.

    Args:
        first: the folder of a run.
        second: the folder of another, or the same.
        runner: whose evaluations; None for all that both have.
        metrics: full names, or names without the runner; none for all that both have.
        step: of the evaluations; None for the last of each run.
        bootstrap: how to find the confidence intervals; over classes, their signs are flipped
            together too. None: 95 % intervals, drawn over what the evaluations drew, if they did.
        most: how many queries that changed most to name.

    Raises:
        FileNotFoundError: a run holds no tables.
        UnknownNameError: a runner, step or metric is not in both.
        ValueError: the runs have nothing in common, or other queries, or a metric that is named
            cannot be compared.
    """
    return compare_all(
        first, second, runner=runner, metrics=metrics, step=step, bootstrap=bootstrap, most=most
    )[0]


def compare_all(
    first: str | Path,
    second: str | Path,
    *,
    runner: str | None = None,
    metrics: Sequence[str] = (),
    step: int | None = None,
    bootstrap: Bootstrap | None = None,
    most: int = 5,
) -> tuple[list[Change], list[str]]:
    """Return what `compare` does, and the names of what both logged and was not compared."""
    runs = RunTables(Path(first)), RunTables(Path(second))
    names = [name for name in runs[0].runners if name in runs[1].runners]
    pairs: list[Comparison] = []
    for name in names if runner is None else [runner]:
        one, other = (run.read(name, step) for run in runs)
        pairs += [Comparison(one[key], other[key], bootstrap) for key in one if key in other]
    known = [full for pair in pairs for full in pair.names]
    why_not = {full: why for pair in pairs for full, why in pair.unnamed.items()}
    why_not |= {full: why for pair in pairs for full, why in pair.left_out.items()}
    rest = {full: why for full, why in why_not.items() if full not in known}
    if not known and not rest:
        msg = f"the runs {str(first)!r} and {str(second)!r} have no runner and metric in common"
        raise ValueError(msg)
    wanted = {full for metric in metrics for full in _find(metric, known, rest)} or set(known)
    changes = [change for pair in pairs for change in pair.changes(wanted, most)]
    return changes, [] if metrics else list(rest)


def _find(metric: str, known: Sequence[str], rest: Mapping[str, str]) -> list[str]:
    """Return the full names that a name may mean.

    Args:
        metric: the name.
        known: those of metrics that can be compared.
        rest: those of others, and why they cannot be.
    """
    found = [name for name in known if metric in (name, name.partition("/")[2])]
    for name, why in rest.items():
        if not found and metric in (name, name.partition("/")[2]):
            msg = f"{name!r} cannot be compared: {why}"
            raise ValueError(msg)
    if not found:
        raise unknown_name("metric of both runs", metric, known)
    return found
