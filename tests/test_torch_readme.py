"""What the pages for newcomers show of a training works as it stands."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch  # noqa: F401 - left out where it is not installed

from milepost._cli import main
from tests.pages import block


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
