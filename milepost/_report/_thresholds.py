"""What each threshold on the score of a pair gives."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from milepost._report._axes import deviate_ticks, deviates, log_ticks, number_ticks, percent_tick
from milepost._report._figure import as_svg, cut, drawn, light, new_axes
from milepost._report._numbers import count, numbers
from milepost._report._page import fill
from milepost._report._run_files import Columns, RunFiles
from milepost._report._section import Section

_WIDTH, _HEIGHT = 440, 340
_GROUPS = 50
_MOST = 0.995  # the rate at which the axes of the DET end
_ROWS = 3  # of names above the histogram
_TITLES = {"tar": "TAR", "far": "FAR", "f1": "F1"}


class Point(NamedTuple):
    """A threshold with a name, and what it gives."""

    name: str
    threshold: float
    tar: float
    far: float


def thresholds(run: RunFiles) -> Section | None:
    """Return curves, histograms and operating points of each runner's pairs."""
    parts = [
        _part(run, runner, name.removesuffix("/roc"))
        for runner in run.runners
        for name in run.table_names(runner)
        if name.endswith("/roc")
    ]
    parts = [part for part in parts if part["figures"]]
    return (
        Section("thresholds", "Thresholds", fill("thresholds.html", parts=parts)) if parts else None
    )


def _part(run: RunFiles, runner: str, owner: str) -> dict[str, Any]:
    steps = run.steps(runner)
    roc = run.table(runner, f"{owner}/roc")
    first = run.table(runner, f"{owner}/roc", steps[0]) if len(steps) > 1 else None
    scores = run.table(runner, f"{owner}/scores")
    table = run.table(runner, f"{owner}/operating_points")
    points = points_of(table)
    figures = []
    if roc is not None and all(np.isfinite(x).any() for x in roc.values()):
        told = ", ".join(f"{x.name}: TAR {percent_tick(x.tar)}" for x in points)
        figures.append(("ROC", as_svg(draw_roc(roc, points, first), "ROC", told), _ABOUT["roc"]))
        figures.append(("DET", as_svg(draw_det(roc, points, first), "DET", told), _ABOUT["det"]))
    if scores is not None:
        told = f"{count(scores['genuine'].sum())} genuine and "
        told += f"{count(scores['impostors'].sum())} impostor pairs"
        svg = as_svg(draw_scores(scores, points), "Scores of pairs", told)
        figures.append(("Scores of pairs", svg, f"{told.capitalize()}. {_ABOUT['scores']}"))
    return {
        "title": f"{runner}, {owner}, step {count(steps[-1])}",
        "figures": figures,
        "first": None if first is None else count(steps[0]),
        "table": _table(table),
        "groups": _table(run.table(runner, f"{owner}/groups")),
    }


_ABOUT = {
    "roc": "Genuine pairs accepted (TAR) against impostor pairs accepted (FAR), whose axis is "
    "logarithmic. Higher is better.",
    "det": "Genuine pairs rejected (FRR) against impostor pairs accepted (FAR), both on axes of "
    "normal deviates, where equally spread scores give a straight line. Lower is better.",
    "scores": "Each kind is drawn as shares of its own. The less they overlap, the better.",
}


def points_of(table: Columns | None) -> list[Point]:
    """Return the operating points of a table; those of one threshold are one."""
    if table is None:
        return []
    columns = (table["threshold"], table["tar"], table["far"], table["point"])
    names: dict[tuple[float, float, float], list[str]] = {}
    for *values, name in zip(*(column.tolist() for column in columns), strict=True):
        threshold, tar, far = map(float, values)
        names.setdefault((threshold, tar, far), []).append(str(name))
    return [Point(", ".join(each), *place) for place, each in names.items()]


def _table(table: Columns | None) -> tuple[list[tuple[str, bool]], list[list[str]]] | None:
    if table is None:
        return None
    are_texts = {name: name in ("point", "group") for name in table}
    columns = [
        (_TITLES.get(x, x.replace("_", " ")), not is_text) for x, is_text in are_texts.items()
    ]
    cells = [
        list(map(str, table[name][:_GROUPS].tolist()))
        if is_text
        else numbers(table[name][:_GROUPS])
        for name, is_text in are_texts.items()
    ]
    return columns, [list(row) for row in zip(*cells, strict=True)]


@drawn
def draw_roc(roc: Columns, points: Sequence[Point] = (), first: Columns | None = None) -> Figure:
    """Draw TAR over FAR.

    Args:
        roc: columns `match_rate_genuine` and `match_rate_impostor`.
        points: to be marked.
        first: of an earlier evaluation, drawn thinly.
    """
    figure, axes = new_axes(_WIDTH, _HEIGHT, left=54, bottom=42)
    least = _least(roc["match_rate_impostor"], 0.1)
    axes.set_xscale("log")
    for curve, colour, width in ((first, "muted", 1.0), (roc, "blue", 2.0)):
        if curve is not None:
            x, y = curve["match_rate_impostor"], curve["match_rate_genuine"]
            axes.plot(np.maximum(x, least), y, color=light(colour), linewidth=width)
    far, tar = (np.array([getattr(x, name) for x in points]) for name in ("far", "tar"))
    axes.set(xlim=(least, 1), ylim=(0, 1.02), xlabel="FAR", ylabel="TAR")
    _mark(axes, points, np.maximum(far, least), tar)
    log_ticks(axes.xaxis, least)
    number_ticks(axes.yaxis, 5)
    return figure


@drawn
def draw_det(roc: Columns, points: Sequence[Point] = (), first: Columns | None = None) -> Figure:
    """Draw FRR over FAR on axes of normal deviates; the arguments are those of `draw_roc`."""
    figure, axes = new_axes(_WIDTH, _HEIGHT, left=60, bottom=42)
    least = {
        axis: _least(rates, 0.01)
        for axis, rates in (("x", roc["match_rate_impostor"]), ("y", 1 - roc["match_rate_genuine"]))
    }
    for curve, colour, width in ((first, "muted", 1.0), (roc, "blue", 2.0)):
        if curve is not None:
            x = _deviates(curve["match_rate_impostor"], least["x"])
            y = _deviates(1 - curve["match_rate_genuine"], least["y"])
            axes.plot(x, y, color=light(colour), linewidth=width)
    far, tar = (np.array([getattr(x, name) for x in points]) for name in ("far", "tar"))
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        low, high = deviates(np.array([least[name], _MOST]))
        axes.set(**{f"{name}lim": (low, high)})
        deviate_ticks(axis, low, high)
    _mark(axes, points, _deviates(far, least["x"]), _deviates(1 - tar, least["y"]))
    axes.set(xlabel="FAR", ylabel="FRR")
    return figure


def _least(rates: npt.NDArray[np.float64], most: float) -> float:
    """Return the smallest rate that is not 0: where an axis without a 0 begins."""
    return float(np.min(rates, where=rates > 0, initial=most))


def _deviates(rates: npt.NDArray[np.float64], least: float) -> npt.NDArray[np.float64]:
    """Return normal deviates; what lies beyond the axis is drawn at its end."""
    return deviates(np.clip(rates, least, _MOST))


@drawn
def draw_scores(scores: Columns, points: Sequence[Point] = ()) -> Figure:
    """Draw the histograms of genuine and impostor pairs, with the thresholds.

    Args:
        scores: columns `lower`, `upper`, `genuine` and `impostors`.
        points: whose thresholds are marked.
    """
    figure, axes = new_axes(_WIDTH, _HEIGHT, left=20, bottom=42, top=56)
    edges = np.append(scores["lower"], scores["upper"][-1:])
    for kind, colour, line in (("impostors", "orange", (0, (4, 2))), ("genuine", "blue", "-")):
        shares = scores[kind] / max(int(scores[kind].sum()), 1)
        style: dict[str, Any] = {"color": light(colour), "linewidth": 1.6, "linestyle": line}
        axes.stairs(shares, edges, fill=True, color=light(colour), alpha=0.18)
        axes.stairs(shares, edges, **style)
        at = int(np.argmax(shares))
        name = "impostor" if kind == "impostors" else kind
        place = ((edges[at] + edges[at + 1]) / 2, shares[at])
        axes.annotate(
            name, place, (0, 5), textcoords="offset points", ha="center", color=light(colour)
        )
    top = axes.get_xaxis_transform()
    inside = sorted(
        (x for x in points if edges[0] <= x.threshold <= edges[-1]), key=lambda x: x.threshold
    )
    for at, point in enumerate(inside):
        height = 1.02 + 0.05 * (at % _ROWS)
        axes.plot([point.threshold] * 2, [0, height - 0.005], **_thin(top))
        axes.text(
            point.threshold, height, cut(point.name, 24), transform=top, ha="center", fontsize=9
        )
    axes.set(xlabel="score", yticks=[])
    number_ticks(axes.xaxis, 6)
    axes.spines["left"].set_visible(False)
    return figure


def _thin(transform: Any) -> dict[str, Any]:
    return {"color": light("ink"), "linewidth": 0.8, "transform": transform, "clip_on": False}


def _mark(
    axes: Axes,
    points: Sequence[Point],
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
) -> None:
    """Mark operating points that lie on the axes, whose limits are set."""
    for at, point in enumerate(points):
        if np.isfinite(x[at]) and np.isfinite(y[at]):
            name = cut(point.name, 24)
            end = axes.transData.transform((x[at], y[at]))[0] + 6 + 6 * len(name)
            fits = end < axes.figure.bbox.width
            axes.plot(x[at], y[at], "o", color=light("ink"), markersize=5, zorder=6)
            axes.annotate(
                name,
                (x[at], y[at]),
                (6 if fits else -6, -11),
                textcoords="offset points",
                ha="left" if fits else "right",
                fontsize=9,
                zorder=5,
            )
