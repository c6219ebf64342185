"""A comparison of two runs, for the terminal."""

import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from milepost._changes import Change
from milepost.callbacks import better

_LONGEST = 40  # characters of a cell
_WIDTH = 100


def comparison_text(
    changes: Sequence[Change], first: str, second: str, rest: Sequence[str] = ()
) -> str:
    """Return a table of the changes, and the queries that changed most in the first metric.

    Args:
        changes: what `compare` gives.
        first: the name of the first run.
        second: that of the second.
        rest: what else was logged.
    """
    lines = [f"a: {first}", f"b: {second}"]
    for runner, group in groupby(changes, lambda change: change.metric.partition("/")[0]):
        own = list(group)
        rows = [_cells(change) for change in own]
        head = [runner, "a", "b", "b - a", "interval", "p", "up", "down", "b is"]
        lines += ["", *_table([head, *rows])]
        if changed := own[0].most:
            head = [{"first": "a", "second": "b"}.get(key, key) for key in changed[0]]
            cells = [[_cell(value) for value in each.values()] for each in changed]
            lines += ["", f"changed most in {_short(own[0])}:", *_table([head, *cells])]
    if rest:
        told = f"not compared (`--metric NAME` tells why): {', '.join(rest)}"
        lines += ["", *textwrap.wrap(told, _WIDTH)]
    return "\n".join(lines) + "\n"


def _cells(change: Change) -> list[str]:
    return [
        _short(change),
        f"{change.first:.4f}",
        f"{change.second:.4f}",
        f"{change.difference:+.4f}",
        f"{change.low:+.4f} ... {change.high:+.4f}",
        f"{change.p:.2g}",
        *_counts(change),
        _verdict(change),
    ]


def _counts(change: Change) -> tuple[str, str]:
    """Return how many queries went up and down; nothing of a metric that single ones lack."""
    if change.difference and not (change.higher or change.lower):
        return "", ""
    return str(change.higher), str(change.lower)


def _verdict(change: Change) -> str:
    """Return whether the second run is better, where the interval and the metric's name tell."""
    way = better(change.metric)
    if way is None or change.low <= 0 <= change.high:
        return ""
    return "better" if (change.low > 0) == (way == "max") else "worse"


def _short(change: Change) -> str:
    return change.metric.partition("/")[2]


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows in columns of one width, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" if at == 0 else f"{cell:>{width}}"
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
