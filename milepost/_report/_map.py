"""Embeddings on a plane."""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from milepost._report._figure import SERIES, as_svg, cut, drawn, light, new_axes
from milepost._report._numbers import count
from milepost._report._page import fill
from milepost._report._query_tables import as_texts
from milepost._report._run_files import Columns, RunFiles
from milepost._report._section import Section

Ints = npt.NDArray[np.int64]

_MOST_CLASSES = 12  # that are told apart: six colours, each with two markers
_MARKERS = "os^DvP"
_LONGEST = 16  # characters of a label in the legend
_COLUMNS = 4  # of the legend, at most
_WIDTH = 420  # pixels
_METHODS = {"pca": "the first two principal axes", "umap": "UMAP"}


def embedding_map(run: RunFiles) -> Section | None:
    """Return maps of the embeddings: at the first and at the last evaluation that left one."""
    names = [
        (runner, name)
        for runner in run.runners
        for name in run.table_names(runner)
        if name.rpartition("/")[2] == "map"
    ]
    maps = [each for runner, name in names for each in _maps(run, runner, name)]
    if not maps:
        return None
    return Section("embedding-map", "Embedding map", fill("map.html", maps=maps))


@drawn
def draw_map(columns: Columns) -> Figure:
    """Draw the table `map`: a point a row, each class with a colour and a marker of its own.

    Of more than 12 classes, the 11 that most rows are of are told apart; all others are one more.
    """
    classes = _classes(columns)
    names = [cut(name, _LONGEST) for name in classes]
    across = min(_COLUMNS, (_WIDTH - 28) // (30 + 9 * max(map(len, names))))
    lines = -(-len(names) // across) if "label" in columns else 0
    figure, axes = new_axes(_WIDTH, 400 + 18 * lines, left=14, bottom=14 + 18 * lines)
    points = [
        axes.scatter(
            columns["x"][rows],
            columns["y"][rows],
            s=16,
            marker=marker,
            color=light(colour),
            alpha=0.75,
            linewidths=0,
        )
        for rows, colour, marker in classes.values()
    ]
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    if lines:
        legend = axes.legend(
            points,
            ["?"] * len(names),  # it would leave out names that begin with `_`
            loc="upper center",
            bbox_to_anchor=(0.5, -0.01),
            ncols=across,
            markerscale=1.4,
            handletextpad=0.1,
            columnspacing=1.2,
            borderaxespad=0.2,
        )
        for text, name in zip(legend.get_texts(), names, strict=True):
            text.set_text(name)
    return figure


def _maps(run: RunFiles, runner: str, name: str) -> list[dict[str, Any]]:
    """Return what the template shows of one inferencer."""
    steps = run.steps(runner)
    found = []
    for step in dict.fromkeys((steps[0], steps[-1])):
        columns = run.table(runner, name, step)
        if columns is None or not len(columns.get("x", ())):
            continue
        method = str(columns["method"][0])
        title = f"{runner}, step {count(step)}"
        told = f"{count(len(columns['x']))} embeddings by {_METHODS.get(method, method)}."
        svg = as_svg(draw_map(columns), f"Embedding map, {title}", told, points=_told(columns))
        found.append({"title": title, "svg": svg, "told": told})
    return found


def _classes(columns: Columns) -> dict[str, tuple[Ints, str, str]]:
    """Return the classes that are told apart: their rows, their colour and their marker."""
    if "label" not in columns:
        return {"": (np.arange(len(columns["x"])), SERIES[0], _MARKERS[0])}
    texts = as_texts(columns["label"])
    ranked = sorted(Counter(texts).items(), key=lambda pair: (-pair[1], pair[0]))
    told = [name for name, _ in ranked]
    if len(told) > _MOST_CLASSES:
        told = told[: _MOST_CLASSES - 1]
    labels = np.array(texts, dtype=object)
    classes = {}
    rest = np.flatnonzero(~np.isin(labels, told))
    if len(rest):  # drawn first, under the others
        classes[f"{len(ranked) - len(told)} others"] = rest, "muted", "."
    for at, name in enumerate(sorted(told, key=_in_order)):
        marker = _MARKERS[(at + at // len(SERIES)) % len(_MARKERS)]
        classes[name] = np.flatnonzero(labels == name), SERIES[at % len(SERIES)], marker
    return classes


def _told(columns: Columns) -> list[str]:
    """Return what each point says of itself, in the order in which they are drawn."""
    order = np.concatenate([rows for rows, _, _ in _classes(columns).values()]).tolist()
    ids = [str(each) for each in columns["item"].tolist()]
    if "label" not in columns:
        return [ids[at] for at in order]
    labels = as_texts(columns["label"])
    return [f"{ids[at]}: label {labels[at]}" for at in order]


def _in_order(label: str) -> tuple[bool, float, str]:
    """Return what sorts labels: numbers by their size, before all else."""
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label
