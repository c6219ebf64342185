"""The results in Markdown."""

from collections.abc import Mapping
from typing import Any

from benchmarks.row import Row, Section

Result = Mapping[str, Any]


def result_of(row: Row, section: Section, first: Result, other: Result | None) -> dict[str, Any]:
    """Return what a row shows, from the medians of its sides."""
    ratio = other["seconds"] / first["seconds"] if other else None
    memory = None
    if other:
        above, below = (other, first) if section.ours else (first, other)
        memory = above["peak_mb"] / max(1.0, below["peak_mb"])
    time = first["seconds"] * section.per_s
    bounds = [
        (row.least, ratio, 1),
        (row.most, ratio, -1),
        (row.memory, memory, -1),
        (row.most_time, time, -1),
        (row.most_mb, first["peak_mb"], -1),
    ]
    checks = [
        sign * value >= sign * bound
        for bound, value, sign in bounds
        if bound is not None and value is not None
    ]
    return {
        "title": row.title,
        "named": row.named,
        "first": first,
        "other": other,
        "ratio": ratio,
        "memory": memory,
        "aim": aim_of(row, section),
        "met": all(checks) if checks else None,
        "over_budget": row.most_mb is not None and first["peak_mb"] > row.most_mb,
    }


def aim_of(row: Row, section: Section) -> str:
    """Return what is aimed for, in words."""
    aims = [
        (row.least, "≥ {:.3g}"),
        (row.most, "≤ {:.3g}"),
        (row.memory, "memory ≤ {:.2g}"),
        (row.most_time, f"ours ≤ {{:.3g}} {section.unit}"),
        (row.most_mb, "≤ {:.0f} MB"),
    ]
    return ", ".join(text.format(bound) for bound, text in aims if bound is not None)


def markdown(section: Section, results: list[Result], left_out: list[str]) -> str:
    """Return a section: its note, its table, and what was left out."""
    lines = [f"### {section.title}", "", section.note, ""]
    if results:
        lines += [*_table(section, results), ""]
    lines += [f"- {each}" for each in left_out]
    return "\n".join([*lines, ""] if left_out else lines)


def _table(section: Section, results: list[Result]) -> list[str]:
    first, other, named = section.headings
    head = ["row", f"{first}, {section.unit}", f"{first}, MB", "aim", "met"]
    if section.rows[0].other:
        ratio = "times as long" if section.ours else "times as fast"
        head = ["row", named, f"{first}, {section.unit}", f"{other}, {section.unit}", ratio]
        head += [f"{first}, MB", f"{other}, MB", "aim", "met"]
    lines = [head, ["---"] * len(head)]
    lines += [_cells(section, each) for each in results]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def _cells(section: Section, result: Result) -> list[str]:
    sides = [each for each in (result["first"], result["other"]) if each]
    times = [f"{each['seconds'] * section.per_s:.4g}" for each in sides]
    peaks = [f"{each['peak_mb']:.0f}" for each in sides]
    met = {True: "yes", False: "**no**", None: ""}[result["met"]]
    start = [result["title"], *([result["named"], *times] if result["other"] else times)]
    ratio = [f"{result['ratio']:.2f}"] if result["other"] else []
    return [*start, *ratio, *peaks, result["aim"], met]
