"""The pages of the documentation."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def block(page: str, language: str) -> str:
    """The first block of a page in a language."""
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert found is not None
    return found[1]
