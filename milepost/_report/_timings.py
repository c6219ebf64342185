"""What the evaluations cost."""

from collections.abc import Sequence
from statistics import median
from typing import Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure

from milepost._report._axes import number_ticks, short
from milepost._report._figure import SERIES, as_svg, drawn, light, new_axes
from milepost._report._numbers import NOTHING, count, duration, percent, size
from milepost._report._page import fill
from milepost._report._run_files import Evaluation, RunFiles
from milepost._report._section import Section

Seconds: TypeAlias = dict[str, float]
"""By stage."""

_ORDER = ("load", "forward", "update", "compute", "evidence", "confidence")
_REST = "other"
_MOST = 60  # bars


def timings(run: RunFiles) -> Section | None:
    """Return where the time of each runner's evaluations went."""
    parts = [
        _part(run, runner, timed)
        for runner, each in run.evaluations.items()
        if (timed := [x for x in each if "time/total_s" in x.timings])
    ]
    return Section("timings", "Timings", fill("timings.html", parts=parts)) if parts else None


def stages_of(evaluation: Evaluation) -> Seconds:
    """Return seconds by stage; they add up to the total."""
    seconds = {
        name.removeprefix("time/").removesuffix("_s"): max(value, 0.0)
        for name, value in evaluation.timings.items()
        if name.startswith("time/") and np.isfinite(value)
    }
    total = seconds.pop("total", 0.0)
    rest = total - sum(seconds.values())
    return {**seconds, _REST: max(rest, 0.0)}


def _part(run: RunFiles, runner: str, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    stages = [stages_of(each) for each in evaluations]
    found = dict.fromkeys(name for each in stages for name in each)
    order = [*(x for x in _ORDER if x in found), *(x for x in found if x not in _ORDER)]
    rows = _rows(stages, order)
    told = ", ".join(f"{name} {share}" for name, _, share in rows)
    figure = draw_timings([each.step for each in evaluations], stages, order)
    return {
        "title": runner,
        "svg": as_svg(figure, "Seconds by stage", told) if len(evaluations) > 1 else None,
        "rows": rows,
        "sum": _sum(evaluations, stages),
        "rate": _median(evaluations, "samples_per_s"),
        "memory": _largest(evaluations, "peak_memory_bytes"),
        "cache": _cache(evaluations),
        "legend": [(name, _colour(name, order)) for name in order],
    }


def _rows(stages: Sequence[Seconds], order: Sequence[str]) -> list[list[str]]:
    """Return each stage with its median and its share of all."""
    total = sum(sum(each.values()) for each in stages)
    rows = []
    for name in order:
        seconds = [each.get(name, 0.0) for each in stages]
        share = sum(seconds) / total if total else 0.0
        rows.append([name, duration(median(seconds)), percent(share)])
    return rows


def _sum(evaluations: Sequence[Evaluation], stages: Sequence[Seconds]) -> str:
    total = sum(sum(each.values()) for each in stages)
    elapsed = max(each.elapsed_s for each in evaluations)
    times = "1 evaluation" if len(stages) == 1 else f"{count(len(stages))} evaluations"
    told = f"{times} took {duration(total)}"
    if elapsed <= total:
        return told
    return f"{told}, {percent(total / elapsed)} of the {duration(elapsed)} of training"


def _colour(stage: str, order: Sequence[str]) -> str:
    return "muted" if stage == _REST else SERIES[order.index(stage) % len(SERIES)]


def _median(evaluations: Sequence[Evaluation], name: str) -> str:
    values = [each.timings[name] for each in evaluations if name in each.timings]
    return count(median(values)) if values else NOTHING


def _largest(evaluations: Sequence[Evaluation], name: str) -> str:
    values = [each.timings[name] for each in evaluations if name in each.timings]
    return size(max(values)) if values else NOTHING


def _cache(evaluations: Sequence[Evaluation]) -> str | None:
    hits, misses = (
        sum(each.timings.get(f"cache/{name}", 0.0) for each in evaluations)
        for name in ("hits", "misses")
    )
    return percent(hits / (hits + misses)) if hits + misses else None


@drawn
def draw_timings(steps: Sequence[int], stages: Sequence[Seconds], order: Sequence[str]) -> Figure:
    """Draw a bar an evaluation, stacked by stage; of many evaluations some.

    Args:
        steps: of the evaluations.
        stages: seconds of each by stage.
        order: of the stages, from below.
    """
    figure, axes = new_axes(440, 260, left=52, bottom=42)
    chosen = np.unique(np.linspace(0, len(steps) - 1, _MOST).round().astype(int))
    bottom = np.zeros(len(chosen))
    for name in order:
        heights = np.array([stages[place].get(name, 0.0) for place in chosen])
        axes.bar(range(len(chosen)), heights, 0.72, bottom, color=light(_colour(name, order)))
        bottom += heights
    ticks = np.unique(np.linspace(0, len(chosen) - 1, 9).round().astype(int))
    axes.set_xticks(ticks, [short(steps[chosen[at]]) for at in ticks])
    axes.set(xlabel="step", ylabel="seconds")
    number_ticks(axes.yaxis, 5)
    axes.grid(visible=False, axis="x")
    return figure
