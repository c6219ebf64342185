"""Which classes are taken for which."""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from milepost._report._figure import as_svg, cut, drawn, light, new_axes
from milepost._report._numbers import count, percent
from milepost._report._page import fill
from milepost._report._run_files import Columns, RunFiles
from milepost._report._section import Section

Floats = npt.NDArray[np.float64]

_MOST = 30  # classes of a drawing
_PAIRS = 15
_LONGEST = 16  # characters of a label


def confusion(run: RunFiles) -> Section | None:
    """Return the confusion matrix of each runner, and the pairs that are confused most."""
    parts = [
        part
        for runner in run.runners
        for name in run.table_names(runner)
        if name.endswith("/matrix") and (part := _part(run, runner, name))
    ]
    return Section("confusion", "Confusion", fill("confusion.html", parts=parts)) if parts else None


def _part(run: RunFiles, runner: str, name: str) -> dict[str, Any] | None:
    matrix = run.table(runner, name)
    if matrix is None:
        return None
    pairs = run.table(runner, f"{name.removesuffix('matrix')}confused")
    classes = len(np.unique(np.append(matrix["label"], matrix["predicted"])))
    rows = [] if pairs is None else _rows(pairs)
    told = "; ".join(f"{a} taken for {b}: {n} times" for a, b, n, _ in rows[:3])
    shown = min(classes, _MOST)
    return {
        "title": f"{runner}, step {count(run.steps(runner)[-1])}",
        "svg": as_svg(draw_confusion(matrix), "Confusion matrix", told),
        "which": f"The {shown} of {count(classes)} classes that are confused most. "
        if classes > shown
        else "",
        "rows": rows,
    }


def _rows(pairs: Columns) -> list[list[str]]:
    columns = (pairs[name].tolist()[:_PAIRS] for name in ("label", "predicted", "count", "share"))
    return [[str(a), str(b), count(n), percent(s)] for a, b, n, s in zip(*columns, strict=True)]


@drawn
def draw_confusion(matrix: Columns) -> Figure:
    """Draw the share of each class's rows that each class is predicted for.

    Args:
        matrix: columns `label`, `predicted` and `count`. Of many classes those that are confused
            most are drawn.
    """
    names, shares, counts = _square(matrix)
    texts = [cut(name, _LONGEST) for name in names]
    side = int(np.clip(34 * len(names), 160, 420))
    left = 40 + int(6.2 * max(map(len, texts), default=1))
    figure, axes = new_axes(
        side + left + 10, side + left + 6, left=left, right=10, bottom=left, top=6
    )
    _fill(axes, shares, counts)
    ticks = range(len(names))
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5))
    axes.set(xlabel="predicted", ylabel="label", aspect="equal")
    size = 11 if len(names) <= 15 else 8
    axes.set_xticks(ticks, texts, fontsize=size, rotation=0 if max(map(len, texts)) <= 2 else 90)
    axes.set_yticks(ticks, texts, fontsize=size)
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    return figure


def _fill(axes: Axes, shares: Floats, counts: Floats) -> None:
    """Draw the cells that hold rows; of few classes, with their numbers."""
    for row, column in zip(*np.nonzero(counts), strict=True):
        is_right = row == column
        share = shares[row, column]
        colour = light("blue" if is_right else "orange")
        alpha = 0.12 + 0.88 * (share if is_right else min(2 * share, 1.0))
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color=colour, alpha=alpha, lw=0))
        if len(counts) <= 12:
            ink = light("paper" if alpha > 0.6 else "ink")
            number = count(counts[row, column])
            axes.text(column, row, number, ha="center", va="center", color=ink, fontsize=9)


def _square(matrix: Columns) -> tuple[list[Any], Floats, Floats]:
    """Return labels, shares of rows, and counts, of the classes that are drawn."""
    both = np.concatenate([matrix["label"], matrix["predicted"]])
    names, codes = np.unique(both, return_inverse=True)
    rows, columns = codes.reshape(2, -1)
    totals = np.bincount(rows, matrix["count"], len(names))
    off = np.where(rows == columns, 0, matrix["count"])
    wrong = np.bincount(rows, off, len(names)) + np.bincount(columns, off, len(names))
    chosen = np.sort(np.argsort(-wrong, kind="stable")[:_MOST])
    place = np.full(len(names), -1)
    place[chosen] = np.arange(len(chosen))
    shown = (place[rows] >= 0) & (place[columns] >= 0)
    counts = np.zeros((len(chosen), len(chosen)))  # of all classes it could exceed the memory
    counts[place[rows[shown]], place[columns[shown]]] = matrix["count"][shown]
    own = totals[chosen][:, None]
    return names[chosen].tolist(), counts / np.where(own > 0, own, 1), counts
