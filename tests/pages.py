"""The pages of the documentation."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def block(page: str, language: str) -> str:
    """The first block of a page in a language."""
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def blocks_only_shown(page: str) -> list[str]:
    """The blocks of Python that a page only shows."""
    shown = r"<!-- not run -->\n```python\n(.*?)```"
    return re.findall(shown, (ROOT / page).read_text(), re.DOTALL)


def metrics() -> set[str]:
    """The names of metrics that a table of the definitions starts a row with."""
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def defined_metrics() -> re.Pattern[str]:
    """The names of all metrics, with any depth, threshold or rate, as one pattern."""
    number = r"-?\\d+(\\.\\d+)?(e-?\\d+)?"
    names = {re.sub(r"(?<=[@=])[ktf]\b", number, re.escape(name)) for name in metrics()}
    return re.compile("|".join(names))
