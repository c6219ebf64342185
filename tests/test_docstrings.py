"""The examples in docstrings run."""

import doctest
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("callbacks", "inferencers", "neighbors", "predictors", "runners", "configs", "milepost")


def modules_with_examples() -> Iterator[str]:
    """Give the modules whose text holds an example, without what wants an absent framework."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            absent = [x for x in ("torch", "keras") if importlib.util.find_spec(x) is None]
            if ">>> " in text and not any(f"import {name}" in text for name in absent):
                parts = path.relative_to(ROOT).with_suffix("").parts
                yield ".".join(parts if folder == "milepost" else ("milepost", *parts))


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_the_examples_of_a_module_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert result.attempted > 0
    assert result.failed == 0
