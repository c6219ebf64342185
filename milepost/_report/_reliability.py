"""Whether confidences hold what they promise."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from milepost._report._axes import number_ticks
from milepost._report._figure import as_svg, drawn, light, new_axes
from milepost._report._numbers import count, number
from milepost._report._page import fill
from milepost._report._run_files import Columns, RunFiles
from milepost._report._section import Section


def reliability(run: RunFiles) -> Section | None:
    """Return the reliability diagram of each runner."""
    figures = [
        (f"{runner}, step {count(run.steps(runner)[-1])}", _svg(table))
        for runner in run.runners
        for name in run.table_names(runner)
        if name.endswith("/reliability") and (table := run.table(runner, name)) is not None
    ]
    if not figures:
        return None
    return Section("reliability", "Reliability", fill("reliability.html", figures=figures))


def _svg(bins: Columns) -> Any:
    rows = bins["rows"]
    gaps = np.abs(bins["accuracy"] - bins["confidence"])[rows > 0]
    widest = float(gaps.max(initial=0.0))
    told = f"{count(rows.sum())} samples; the widest gap between confidence and accuracy "
    return as_svg(draw_reliability(bins), "Reliability", f"{told}is {number(widest)}")


@drawn
def draw_reliability(bins: Columns) -> Figure:
    """Draw accuracy over confidence, bin by bin, above how many samples each bin holds.

    Args:
        bins: columns `lower`, `upper`, `rows`, `confidence` and `accuracy`.
    """
    figure, axes = new_axes(400, 400, left=54, bottom=122)
    below = figure.add_axes((54 / 400, 42 / 400, 332 / 400, 60 / 400))
    some = bins["rows"] > 0
    widths = bins["upper"] - bins["lower"]
    axes.plot([0, 1], [0, 1], color=light("muted"), linewidth=1, linestyle=(0, (4, 3)))
    axes.vlines(
        bins["confidence"][some],
        bins["confidence"][some],
        bins["accuracy"][some],
        color=light("orange"),
        linewidth=2,
    )
    axes.plot(bins["confidence"][some], bins["accuracy"][some], "o-", color=light("blue"))
    below.bar(
        bins["lower"], bins["rows"], widths * 0.92, align="edge", color=light("blue"), alpha=0.5
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy", xticklabels=[])
    below.set(xlim=(0, 1), xlabel="confidence", ylabel="samples")
    number_ticks(axes.yaxis, 5)
    number_ticks(below.xaxis, 5)
    number_ticks(below.yaxis, 2)
    return figure
