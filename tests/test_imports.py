"""Imports point one way, and frameworks stay in their adapters."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FRAMEWORKS = {
    *("torch", "tensorflow", "keras", "safetensors"),
    *("lightning", "pytorch_lightning", "transformers"),
}
ADAPTERS = ("_torch", "_tf", "_keras", "_lightning", "_transformers")
LEAVES = ("errors", "_plugins")
MAY_USE = {
    "neighbors": set[str](),
    "predictors": set[str](),
    "inferencers": {"neighbors"},
    "callbacks": {"predictors"},
    "runners": {"neighbors", "predictors", "inferencers", "callbacks"},
    "configs": {"inferencers"},  # models, data and inferencers, which recipes name by class path
}


def imported(path: Path, *, at_top: bool = False) -> Iterator[str]:
    """The full names that a module imports, anywhere or when it is loaded."""
    tree = ast.parse(path.read_text())
    for node in tree.body if at_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", MAY_USE)
def test_a_folder_imports_only_what_stands_below_it(folder: str) -> None:
    allowed = MAY_USE[folder] | {folder, *LEAVES}
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in imported(path)
        if name.split(".")[0] == "milepost" and name.split(".")[1] not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize(("leaf", "below"), [("errors", ()), ("_plugins", ("errors",))])
def test_what_all_may_import_imports_nothing_itself(leaf: str, below: tuple[str, ...]) -> None:
    names = imported(ROOT / "milepost" / f"{leaf}.py")
    own = [name for name in names if name.startswith("milepost")]
    assert {name.split(".")[1] for name in own} == set(below)


@pytest.mark.parametrize("folder", ["milepost", *list(MAY_USE)[:5]])
def test_only_adapters_load_a_framework_when_they_are_imported(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not path.name.startswith(ADAPTERS)
        for name in imported(path, at_top=True)
        if name.split(".")[0] in FRAMEWORKS or name.split(".")[-1].startswith(ADAPTERS)
    ]
    assert wrong == []
