"""Leaves out the tests of a framework that is not installed: CI runs with each alone, and both."""

import ast
import importlib.util
import os
from functools import cache
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are shared out already
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest.register_assert_rewrite("tests.callbacks.trainers.contract")

_FRAMEWORKS = ("torch", "tensorflow", "keras", "mkdocs", "sentence_transformers", "wandb", "mlflow")
_NEED_TORCH = (
    *("pytorch_metric_learning", "torchmetrics"),
    *("lightning", "pytorch_lightning", "transformers", "ignite", "accelerate"),
)
_TESTS = Path(__file__).parent
_left_out: set[str] = set()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out a file whose imports at the top name a framework that is not there."""
    if not collection_path.match("test_*.py") or not _missing(collection_path):
        return None
    _left_out.add(str(collection_path.relative_to(_TESTS)))
    return True


@pytest.fixture
def coarse_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let histograms of pairs begin with few bins: quick, but `auc` is less exact."""
    monkeypatch.setattr("milepost.neighbors._grid._LEVELS", 8)
    monkeypatch.setattr("milepost.inferencers._refined_histogram._AUC_CELLS", 1 << 9)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out."""
    if _left_out:
        names = ", ".join(sorted(_left_out))
        terminalreporter.write_line(f"left out, for want of a package: {names}")


@cache
def _missing(path: Path) -> bool:
    return any(not _is_installed(name) for name in _imports(path))


def _imports(path: Path) -> set[str]:
    """Return the frameworks that a file imports at its top."""
    modules: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module.partition(".")[0])
    return {"torch" if name in _NEED_TORCH else name for name in modules} & {*_FRAMEWORKS}


@cache
def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
