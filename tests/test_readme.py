"""What the pages for newcomers show works as it stands, and their links lead somewhere."""

import doctest
import re
from pathlib import Path
from typing import Any

import pytest

from tests.pages import ROOT, block

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))


def test_the_worked_example_of_an_inferencer_holds() -> None:
    names: dict[str, Any] = {"__name__": "worst"}
    exec(block("CONTRIBUTING.md", "python"), names)
    (example,) = doctest.DocTestFinder(recurse=False).find(names["Worst"], "Worst", globs=names)
    assert doctest.DocTestRunner().run(example) == (0, 4)


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert set(re.findall(r"^\| \[[^]]*\]\(([^/]*?)\)", index, re.MULTILINE)) == pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_to_files(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    missing = [
        link for link in links if "://" not in link and not (page.parent / link).resolve().exists()
    ]
    assert missing == []
