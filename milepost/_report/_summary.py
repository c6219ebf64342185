"""The run at a glance."""

from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from milepost._report._environment import read_environment
from milepost._report._lines import Line, lines_of
from milepost._report._numbers import NOTHING, count, duration, moment, number
from milepost._report._page import fill
from milepost._report._run_files import Evaluation, RunFiles
from milepost._report._section import Section
from milepost.callbacks import better

_MOST = 12  # metrics of a runner that are shown at once


def header(run: RunFiles) -> Markup:
    """Return the title of the page, with what is known of the whole run."""
    evaluations = [each for all_ in run.evaluations.values() for each in all_]
    points = [point for each in run.training.values() for point in each]
    step = max([*(x.step for x in evaluations), *(x[0] for x in points)], default=0)
    elapsed = max([*(x.elapsed_s for x in evaluations), *(x[1] for x in points)], default=0.0)
    epochs = [each.epoch for each in evaluations if each.epoch is not None]
    counts = {"steps": step, "epochs": max(epochs, default=0), "evaluations": len(evaluations)}
    facts = [*_recipe_facts(run), *((name, count(x)) for name, x in counts.items() if x)]
    if elapsed > 0:
        facts.append(("training", duration(elapsed)))
    started = read_environment(run).get("started")
    if isinstance(started, (int, float)):
        facts.append(("started", moment(started)))
    last = [each.time for each in evaluations if np.isfinite(each.time)]
    if last:
        facts.append(("last evaluation", moment(max(last))))
    return fill("header.html", name=run.name, facts=facts, failed=len(run.failures))


def summary(run: RunFiles) -> Section | None:
    """Return the best and the last value of each runner's metrics."""
    parts = [_part(runner, each) for runner, each in run.evaluations.items()]
    parts = [part for part in parts if part["main"]]
    return Section("summary", "Summary", fill("summary.html", parts=parts)) if parts else None


def _part(runner: str, evaluations: list[Evaluation]) -> dict[str, Any]:
    lines = lines_of(evaluations)
    judged = [line for line in lines if better(line.name)] or lines
    is_one = len(evaluations) == 1
    columns = ["value"] if is_one else ["best", "at step", "last"]
    last = len(evaluations) - 1
    rows = [[x.name, _value(x, last)] if is_one else _row(x) for x in judged]
    return {
        "title": runner,
        "last": count(evaluations[-1].step),
        "is_one": is_one,
        "has_intervals": any(each.intervals for each in evaluations),
        "columns": [("metric", False), *((title, True) for title in columns)],
        "main": rows[:_MOST],
        "rest": rows[_MOST:],
    }


def _row(line: Line) -> list[str]:
    last = len(line.values) - 1
    at = line.best
    best = [NOTHING, NOTHING] if at is None else [_value(line, at), count(line.steps[at])]
    return [line.name, *best, _value(line, last)]


def _value(line: Line, at: int) -> str:
    """Return a value, with its interval if it has one."""
    told = number(line.values[at])
    if not np.isfinite([line.low[at], line.high[at]]).all():
        return told
    join = " to " if line.low[at] < 0 else "\N{EN DASH}"
    interval = f"{number(line.low[at])}{join}{number(line.high[at])}"
    return Markup("{} <small>{}</small>").format(told, interval)


def _recipe_facts(run: RunFiles) -> list[tuple[str, str]]:
    """Return what the recipe names, if the run has one."""
    try:
        recipe = yaml.safe_load(run.text("config.yaml") or "")
    except yaml.YAMLError:
        run.note("config.yaml: no YAML")
        recipe = None
    recipe = recipe if isinstance(recipe, dict) else {}
    named = ((key, _class_path(recipe.get(key))) for key in ("model", "loss", "train"))
    return [(key, path) for key, path in named if path]


def _class_path(value: Any) -> str | None:
    path = value.get("class_path") if isinstance(value, dict) else value
    return path.rpartition(".")[2] if isinstance(path, str) else None
