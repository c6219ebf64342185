"""How the metrics went, over steps and over wall time."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from milepost._report._health import HEALTH
from milepost._report._lines import SHOWN, Line, groups_of, lines_of, panel_of
from milepost._report._numbers import numbers
from milepost._report._page import fill
from milepost._report._run_files import RunFiles
from milepost._report._section import Section
from milepost.callbacks import better


def curves(run: RunFiles) -> Section | None:
    """Return panels of each runner's metrics, and of what the training logged."""
    parts = [
        {"title": runner, **_of_runner(run, runner)}
        for runner, each in run.evaluations.items()
        if len(each) > 1
    ]
    training = [thinned(name, points) for name, points in run.training.items() if len(points) > 1]
    if training:
        panels = [panel_of([line], []) for line in training]
        parts.append({"title": "training", "panels": panels, "further": [], "constant": ""})
    if not parts:
        return None
    has_intervals = any(each.intervals for all_ in run.evaluations.values() for each in all_)
    html = fill("curves.html", parts=parts, has_intervals=has_intervals, failed=run.failures)
    return Section("curves", "Curves", html)


def thinned(name: str, points: Sequence[tuple[int, float, float]]) -> Line:
    """Return what was logged often as means of neighbours, between their least and largest."""
    steps, times, values = np.array(points, np.float64).T
    parts = np.array_split(np.arange(len(points)), min(len(points), SHOWN))
    finite = [part[np.isfinite(values[part])] for part in parts]
    at = np.array([part[-1] for part in parts])
    means, low, high = (
        np.array([of(values[part]) if len(part) else math.nan for part in finite])
        for of in (np.mean, np.min, np.max)
    )
    if len(points) <= SHOWN:
        low = high = np.full(len(at), math.nan)
    return Line(name, steps[at], times[at], means, low, high)


def _of_runner(run: RunFiles, runner: str) -> Mapping[str, Any]:
    failed = [(each.step, each.elapsed_s) for each in run.failures if each.runner == runner]
    lines = [line for line in lines_of(run.evaluations[runner]) if not HEALTH.match(line.name)]
    constant = [line for line in lines if better(line.name) is None and line.is_constant()]
    varying = [line for line in lines if not any(line is each for each in constant)]
    told = ", ".join(f"{line.name} {numbers(line.values)[-1]}" for line in constant)
    panels: list[Any] = []
    further: list[Any] = []
    for group in groups_of(varying):
        (further if better(group[0].name) is None else panels).append(panel_of(group, failed))
    return {"panels": panels, "further": further, "constant": told}
