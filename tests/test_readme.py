"""What the pages for newcomers show works as it stands, and their links lead somewhere."""

import doctest
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from milepost._cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))


def block(page: str, language: str) -> str:
    """The first block of a page in a language."""
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    code = block("README.md", "python")
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 15
    (tmp_path / "example.py").write_text(code)
    command = [sys.executable, "-I", "example.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("hit_rate@1 ") == 2
    assert {"metrics.jsonl", "best.safetensors"} <= {x.name for x in (tmp_path / "out").iterdir()}


def test_the_recipe_of_the_command_line_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("my_project.py").write_text(block("docs/run-and-eval.md", "python"))
    Path("recipe.yaml").write_text(block("docs/run-and-eval.md", "yaml"))
    assert main(["run", "recipe.yaml", "--epochs=1"]) == 0
    assert "validation/error@1" in Path("runs/milepost/metrics.jsonl").read_text()


def test_the_worked_example_of_an_inferencer_holds() -> None:
    names: dict[str, Any] = {"__name__": "worst"}
    exec(block("CONTRIBUTING.md", "python"), names)
    (example,) = doctest.DocTestFinder(recurse=False).find(names["Worst"], "Worst", globs=names)
    assert doctest.DocTestRunner().run(example) == (0, 4)


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert set(re.findall(r"^\| \[(.*?)\]\(\1\)", index, re.MULTILINE)) == pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [
        link for link in links if "://" not in link and not (page.parent / link).resolve().exists()
    ]
    assert missing == []
