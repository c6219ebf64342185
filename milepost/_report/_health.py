"""The health of embeddings: their spectrum, hubs, and how they went."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from milepost._report._axes import label_ends, log_ticks, number_ticks
from milepost._report._figure import as_svg, drawn, light, new_axes
from milepost._report._lines import groups_of, lines_of, panel_of
from milepost._report._numbers import count, numbers
from milepost._report._page import fill
from milepost._report._run_files import Columns, RunFiles
from milepost._report._section import Section

_NAMES = "nan_share norm_\\w+ effective_rank mean_cosine feature_std alignment uniformity hubness"
HEALTH = re.compile(rf"(.*/)?({'|'.join(_NAMES.split())})$")
"""The names of metrics that tell of the health of embeddings."""

_MOST = 5  # spectra in one drawing
_HUBS = 10
_ROUNDING = 1e-6  # norms of unit vectors differ by less


def health(run: RunFiles) -> Section | None:
    """Return how the embeddings of each runner are spread, and how that went."""
    parts = [part for runner in run.runners if (part := _part(run, runner))]
    return (
        Section("health", "Embedding health", fill("health.html", parts=parts)) if parts else None
    )


def _part(run: RunFiles, runner: str) -> dict[str, Any] | None:
    names = run.table_names(runner)
    spectra = [_spectrum(run, runner, name) for name in names if name.endswith("/spectrum")]
    hubs = [_hubs(run, runner, name) for name in names if name.endswith("/hubs")]
    evaluations = run.evaluations.get(runner, [])
    lines = [line for line in lines_of(evaluations) if HEALTH.match(line.name)]
    constant = [line for line in lines if line.is_constant(_ROUNDING)]
    varying = [line for line in lines if not line.is_constant(_ROUNDING)]
    panels = [panel_of(group, []) for group in groups_of(varying)]
    if not (spectra or hubs or lines):
        return None
    told = ", ".join(f"{x.name} {numbers([round(x.values[-1], 6)])[0]}" for x in constant)
    part = {"title": runner, "spectra": spectra, "hubs": hubs, "panels": panels}
    return {**part, "constant": told}


def _spectrum(run: RunFiles, runner: str, name: str) -> dict[str, Any]:
    steps = run.steps(runner)
    chosen = np.unique(np.linspace(0, len(steps) - 1, _MOST).round().astype(int))
    tables = {steps[at]: run.table(runner, name, steps[at]) for at in chosen}
    there = {f"step {count(step)}": table for step, table in tables.items() if table is not None}
    figure = draw_spectrum(list(there), list(there.values()))
    told = f"Singular values of the embeddings that {runner} examined, from the largest down."
    return {"svg": as_svg(figure, "Spectrum", told), "several": len(there) > 1}


def _hubs(run: RunFiles, runner: str, name: str) -> list[list[str]]:
    table = run.table(runner, name) or {"hub": np.empty(0), "occurrences": np.empty(0)}
    some = slice(0, _HUBS)
    times = map(count, table["occurrences"][some].tolist())
    return [[str(hub), each] for hub, each in zip(table["hub"][some].tolist(), times, strict=True)]


@drawn
def draw_spectrum(labels: Sequence[str], tables: Sequence[Columns]) -> Figure:
    """Draw singular values by rank, as shares of the largest; the last line stands out.

    Args:
        labels: of the lines, where there are several.
        tables: columns `rank` and `singular_value`.
    """
    widest = max(map(len, labels), default=0) if len(labels) > 1 else 0
    figure, axes = new_axes(440, 280, left=56, right=14 + 7 * widest)
    axes.set_yscale("log")
    ends, colours = [], []
    for at, table in enumerate(tables):
        values = np.asarray(table["singular_value"], np.float64)
        shares = values / max(float(values.max(initial=0.0)), np.finfo(float).tiny)
        shown = np.where(shares > 1e-8, shares, np.nan)
        is_last = at == len(tables) - 1
        colours.append(light("blue" if is_last else "muted"))
        width = 2.2 if is_last else 0.7 + at / len(tables)
        alone = "o" if np.isfinite(shown).sum() == 1 else None  # a line of one point is none
        axes.plot(table["rank"], shown, color=colours[-1], linewidth=width, marker=alone)
        ends.append(float(shown[np.isfinite(shown)][-1]) if np.isfinite(shown).any() else np.nan)
    axes.set_xlabel("rank")
    axes.set_ylabel("share of the largest")
    log_ticks(axes.yaxis, max(float(axes.get_ylim()[0]), 1e-9))
    number_ticks(axes.xaxis, 6)
    if widest:
        label_ends(axes, labels, ends, colours)
    return figure
