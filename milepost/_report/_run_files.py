"""What the folder of a run holds, as far as it can be read."""

import json
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, final
from urllib.parse import unquote

import numpy.typing as npt

from milepost._run_tables import read_about, read_columns

Columns = Mapping[str, npt.NDArray[Any]]
Tables = Mapping[str, Columns]
"""Columns by `"<inferencer>/<table>"`."""

_PICTURES = 6_000_000  # characters in a page
_TIMINGS = ("time/", "cache/", "samples_per_s", "peak_memory_bytes")
_COVERAGE = "coverage/"
_ABOUT = ("runner", "step", "epoch", "time", "elapsed_s")


class Evaluation(NamedTuple):
    """One evaluation, its names without the runner's.

    Attributes:
        step: steps completed.
        epoch: epochs completed.
        time: seconds since the Unix epoch.
        elapsed_s: seconds of training.
        metrics: by name; NaN and infinity are NaN.
        intervals: the ends of the confidence interval of each metric that has one.
        timings: what it cost, such as `time/load_s`.
        coverage: how many samples of each role were examined.
    """

    step: int
    epoch: int | None
    time: float
    elapsed_s: float
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    timings: dict[str, float]
    coverage: dict[str, int]


class Failure(NamedTuple):
    """An evaluation that failed."""

    runner: str
    step: int
    epoch: int | None
    elapsed_s: float
    error: str


@final
class RunFiles:
    """Reads what a training or an evaluation left in its folder.

    Where a training was resumed, an evaluation that was made again takes the place of the first,
    and what came after that is left out.

    Args:
        rundir: the folder.

    Raises:
        FileNotFoundError: it is no folder, or holds no run.

    Attributes:
        rundir: the folder.
        name: its name.
        problems: what could not be read, for people.
        evaluations: by runner, in the order of their steps.
        failures: evaluations that failed, in the order of the log.
        picture_room: how many characters of pictures the page has room for still.
        training: what the training loop logged: by name, step, elapsed seconds and value.
    """

    def __init__(self, rundir: str | Path) -> None:
        self.rundir = Path(rundir)
        self.name = self.rundir.resolve().name
        self.problems: list[str] = []
        self.picture_room = _PICTURES
        if not self.rundir.is_dir():
            msg = f"`rundir` must be the folder of a run, got {str(self.rundir)!r}"
            raise FileNotFoundError(msg)
        self.evaluations: dict[str, list[Evaluation]] = {}
        self.failures: list[Failure] = []
        self.training: dict[str, list[tuple[int, float, float]]] = {}
        for line in self._lines():
            self._add(line)
        self._tables = self._find_tables()
        if not (self.evaluations or self.failures or self.training or self._tables):
            msg = (
                f"{str(self.rundir)!r} holds no run: neither records in metrics.jsonl nor tables; "
                "`milepost run`, `Loop(..., rundir=)` and `evaluate(..., rundir=)` write them"
            )
            raise FileNotFoundError(msg)

    @property
    def runners(self) -> list[str]:
        """All runners, in the order in which they first ran."""
        names = [*self.evaluations, *(failure.runner for failure in self.failures), *self._tables]
        return list(dict.fromkeys(names))

    def steps(self, runner: str) -> list[int]:
        """Return the steps whose evaluation left tables."""
        found = sorted(self._tables.get(runner, {}))
        logged = {evaluation.step for evaluation in self.evaluations.get(runner, ())}
        return [step for step in found if step in logged] or found

    def table_names(self, runner: str) -> list[str]:
        """Return the names of the tables of the last evaluation that left some."""
        return list(self._paths(runner))

    def tables(self, runner: str, step: int | None = None) -> dict[str, Columns]:
        """Return the tables of an evaluation as `"<inferencer>/<table>"`.

        Args:
            runner: its name.
            step: of the evaluation; None for the last that left tables.
        """
        tables = {name: self.table(runner, name, step) for name in self._paths(runner, step)}
        return {name: table for name, table in tables.items() if table is not None}

    def table(self, runner: str, name: str, step: int | None = None) -> Columns | None:
        """Return one table; None if it is not there or cannot be read."""
        path = self._paths(runner, step).get(name)
        if path is None:
            return None
        try:
            return read_columns(path)
        except Exception as error:  # damaged: the rest of the page is as useful
            self.note(f"{path.relative_to(self.rundir)}: {error}")
            return None

    def rows(self, runner: str, table: str, ids: Collection[Any]) -> Iterator[Columns]:
        """Give the rows with some ids of the tables of a name, of all evaluations, oldest first."""
        for _, names in sorted(self._tables.get(runner, {}).items()):
            for path in (path for name, path in names.items() if name.endswith(f"/{table}")):
                try:
                    yield read_columns(path, ids)
                except Exception as error:  # damaged: the rest of the page is as useful
                    self.note(f"{path.relative_to(self.rundir)}: {error}")

    def metric_columns(self, runner: str, name: str) -> dict[str, str]:
        """Return the columns of a table that are metrics of its rows, with their full names."""
        path = self._paths(runner).get(name)
        try:
            return dict(read_about(path)["metrics"]) if path else {}
        except Exception:  # damaged: `table` says so
            return {}

    def note(self, problem: str) -> None:
        """Note what could not be read, once."""
        if problem not in self.problems:
            self.problems.append(problem)

    def text(self, name: str) -> str | None:
        """Return the text of a file of the folder, None if there is none."""
        path = self.rundir / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None

    def _paths(self, runner: str, step: int | None = None) -> dict[str, Path]:
        """Return the files of an evaluation's tables; those of the last if no step is given."""
        steps = self.steps(runner) if step is None else [step]
        return self._tables.get(runner, {}).get(steps[-1], {}) if steps else {}

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Give the records of the log; a last line that is unfinished is left out."""
        path = self.rundir / "metrics.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if isinstance(record, dict):
                yield record
            elif line.strip() and line.endswith(b"\n"):
                self.note(f"metrics.jsonl: line {number} is no record")

    def _add(self, line: dict[str, Any]) -> None:
        runner, error, step = line.get("runner"), line.get("error"), int(_number(line, "step", 0))
        if isinstance(error, str):
            elapsed = _number(line, "elapsed_s", 0)
            failure = Failure(str(runner or "train"), step, _epoch(line), elapsed, error)
            self.failures.append(failure)
        elif isinstance(runner, str):
            evaluations = self.evaluations.setdefault(runner, [])
            while evaluations and evaluations[-1].step >= step:
                evaluations.pop()
            evaluations.append(_evaluation(line, runner, step))
        else:
            self._add_training(line, step, _number(line, "elapsed_s", 0))

    def _add_training(self, line: dict[str, Any], step: int, elapsed: float) -> None:
        for key in (key for key in line if key not in _ABOUT):
            points = self.training.setdefault(key, [])
            while points and points[-1][0] >= step:
                points.pop()
            points.append((step, elapsed, _number(line, key)))

    def _find_tables(self) -> dict[str, dict[int, dict[str, Path]]]:
        """Return the files of tables by runner, step and name."""
        runners: dict[str, str] = {}
        found: dict[str, dict[int, dict[str, Path]]] = {}
        for path in sorted(self.rundir.glob("tables/*/*/*.parquet")):
            folder = path.parent.parent.name
            if not path.parent.name.isdecimal():
                continue
            if folder not in runners:
                runners[folder] = self._runner_of(path) or unquote(folder)
            owner, _, table = path.name.removesuffix(".parquet").partition(".")
            names = found.setdefault(runners[folder], {}).setdefault(int(path.parent.name), {})
            names[f"{unquote(owner)}/{unquote(table)}"] = path
        return found

    @staticmethod
    def _runner_of(path: Path) -> str | None:
        try:
            return str(read_about(path)["runner"])
        except Exception:  # damaged: what it is called will do
            return None


def _evaluation(line: Mapping[str, Any], runner: str, step: int) -> Evaluation:
    """Return what a record tells, by kind."""
    prefix = f"{runner}/"
    own = {key.removeprefix(prefix): _number(line, key) for key in line if key.startswith(prefix)}
    timings = {key: own.pop(key) for key in list(own) if key.startswith(_TIMINGS)}
    intervals = {
        key: (own.pop(f"{key}/low"), own.pop(f"{key}/high"))
        for key in list(own)
        if f"{key}/low" in own and f"{key}/high" in own
    }
    return Evaluation(
        step=step,
        epoch=_epoch(line),
        time=_number(line, "time"),
        elapsed_s=_number(line, "elapsed_s", 0),
        metrics=own,
        intervals=intervals,
        timings=timings,
        coverage={
            key.removeprefix(_COVERAGE): int(_number(line, key, 0))
            for key in line
            if key.startswith(_COVERAGE)
        },
    )


def _epoch(line: Mapping[str, Any]) -> int | None:
    epoch = _number(line, "epoch")
    return None if math.isnan(epoch) else int(epoch)


def _number(line: Mapping[str, Any], key: str, default: float = math.nan) -> float:
    """Return a number of a record; the default where it is none."""
    try:
        value = float(line[key])
    except (KeyError, TypeError, ValueError, OverflowError):
        return default
    return value if math.isfinite(value) else default
