"""Metrics as lines over steps and over wall time."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from milepost._report._axes import label_ends, number_ticks
from milepost._report._figure import SERIES, as_svg, cut, drawn, light, new_axes
from milepost._report._numbers import count, number
from milepost._report._run_files import Evaluation
from milepost.callbacks import better

_DASHES = ("-", (0, (5, 2)), (0, (2, 1.5)))
_HOUR_S = 3600.0
SHOWN = 300
"""How many points of a line are drawn at most."""
_RING: dict[str, Any] = {"markersize": 8, "markerfacecolor": "none", "markeredgewidth": 1.4}
_CROSS: dict[str, Any] = {
    "color": light("ink"),
    "markersize": 6,
    "markeredgewidth": 1.6,
    "clip_on": False,
}


class Line(NamedTuple):
    """A metric over a run; all of shape (N,).

    Attributes:
        name: of the metric.
        steps: completed, ascending.
        times: seconds of training.
        values: NaN where there is none.
        low: the lower ends of the intervals, or of what a point stands for.
        high: the upper ends.
    """

    name: str
    steps: npt.NDArray[np.float64]
    times: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]

    @property
    def label(self) -> str:
        """What tells it from other lines of its panel."""
        base, at, depth = self.name.partition("@")
        return f"{at}{depth}" or base

    @property
    def shown(self) -> npt.NDArray[np.int64]:
        """Which of its points are drawn: of many some, the best among them."""
        some = np.linspace(0, len(self.steps) - 1, min(len(self.steps), SHOWN)).round()
        best = [] if self.best is None else [self.best]
        return np.unique(np.append(some, best).astype(np.int64))

    def is_constant(self, rounding: float = 0.0) -> bool:
        """Return whether all its values are the same."""
        finite = self.values[np.isfinite(self.values)]
        return not len(finite) or float(np.ptp(finite)) <= rounding

    @property
    def best(self) -> int | None:
        """Where its best value is, if it is known which way it is better."""
        mode = better(self.name)
        if mode is None or not np.isfinite(self.values).any():
            return None
        return int(np.nanargmax(self.values) if mode == "max" else np.nanargmin(self.values))


def lines_of(evaluations: Sequence[Evaluation]) -> list[Line]:
    """Return the metrics of a runner's evaluations, in the order in which they were logged."""
    names = dict.fromkeys(name for each in evaluations for name in each.metrics)
    steps = np.array([each.step for each in evaluations], np.float64)
    times = np.array([each.elapsed_s for each in evaluations], np.float64)
    nothing = (math.nan, math.nan)
    lines = []
    for name in names:
        values = [each.metrics.get(name, math.nan) for each in evaluations]
        ends = np.array([each.intervals.get(name, nothing) for each in evaluations], np.float64)
        lines.append(Line(name, steps, times, np.array(values), ends[:, 0], ends[:, 1]))
    return lines


def groups_of(lines: Iterable[Line]) -> list[list[Line]]:
    """Return lines by the panel that they share: a metric at all its depths."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.name.partition("@")[0], []).append(line)
    return list(groups.values())


def panel_of(lines: Sequence[Line], failed: Sequence[tuple[int, float]]) -> dict[str, str | Markup]:
    """Return the two drawings of a panel, with its title."""
    title = lines[0].name if len(lines) == 1 else lines[0].name.partition("@")[0]
    told = "; ".join(map(_told, lines))
    by_step = draw_curves(lines, [step for step, _ in failed])
    by_time = draw_curves(lines, [time for _, time in failed], over="time")
    return {
        "title": title,
        "by_step": as_svg(by_step, f"{title} by step", told),
        "by_time": as_svg(by_time, f"{title} by wall time", told),
    }


def _told(line: Line) -> str:
    """Return a line in words."""
    told = f"{line.name}: {number(line.values[0])} at step {count(line.steps[0])}, "
    told += f"{number(line.values[-1])} at step {count(line.steps[-1])}"
    if line.best is not None:
        told += f", best {number(line.values[line.best])} at step {count(line.steps[line.best])}"
    return told


@drawn
def draw_curves(lines: Sequence[Line], failed: Sequence[float] = (), over: str = "step") -> Figure:
    """Draw metrics in one panel, with their intervals, best values, and what failed.

    Args:
        lines: of equal steps.
        failed: where evaluations failed, in steps or seconds.
        over: `"step"` or `"time"`.
    """
    ends = [cut(line.label, 14) for line in lines] if len(lines) > 1 else []
    widest = max(map(len, ends), default=0)
    figure, axes = new_axes(320, 200, right=14 + 7 * widest)
    unit, scale = _time_unit(lines) if over == "time" else ("step", 1.0)
    for number_, line in enumerate(lines):
        x = (line.times if over == "time" else line.steps) / scale
        colour = light(SERIES[number_ % len(SERIES)])
        dash = _DASHES[number_ // len(SERIES) % len(_DASHES)]
        marker = "o" if len(x) <= 30 else None
        at = line.shown
        axes.fill_between(x[at], line.low[at], line.high[at], color=colour, alpha=0.18, linewidth=0)
        axes.plot(x[at], line.values[at], color=colour, linestyle=dash, marker=marker, markersize=3)
        if line.best is not None:
            axes.plot(x[line.best], line.values[line.best], "o", color=colour, **_RING)
    _finish(axes, unit, [place / scale for place in failed])
    if ends:
        last = [_last(line.values) for line in lines]
        label_ends(axes, ends, last, [light(SERIES[at % len(SERIES)]) for at in range(len(ends))])
    return figure


def _finish(axes: Axes, unit: str, failed: Sequence[float]) -> None:
    axes.set_xlabel(unit)
    number_ticks(axes.xaxis, 5, whole=unit == "step")
    number_ticks(axes.yaxis, 5)
    axes.margins(x=0.03)
    _fit_height(axes)
    bottom = axes.get_xaxis_transform()
    axes.plot(failed, [0.0] * len(failed), "x", transform=bottom, **_CROSS)


def _fit_height(axes: Axes) -> None:
    """Leave room above and below; what are shares stay between 0 and 1."""
    low, high = axes.dataLim.intervaly
    if not np.isfinite([low, high]).all():
        return
    size = max(abs(low), abs(high))
    room = 0.08 * (high - low) if high - low > 1e-4 * size else 0.05 * size or 0.05
    bottom, top = low - room, high + room
    if low >= 0 and high <= 1:
        bottom, top = max(bottom, -0.25 * room), min(top, 1 + 0.25 * room)
    axes.set_ylim(bottom, top)


def _last(values: npt.NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else math.nan


def _time_unit(lines: Sequence[Line]) -> tuple[str, float]:
    longest = max(float(np.nanmax(line.times, initial=0.0)) for line in lines)
    if longest >= 2 * _HOUR_S:
        return "hours of training", _HOUR_S
    return ("minutes of training", 60.0) if longest >= 120 else ("seconds of training", 1.0)
