"""The public names of `milepost`, and what importing them costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import milepost

FRAMEWORKS = {"torch", "tensorflow", "faiss", "sklearn", "pyarrow", "wandb", "mlflow", "PIL"}
HEAVY = {*FRAMEWORKS, "tqdm", "jsonargparse"}


def loaded_after(program: str) -> set[str]:
    """The heavy modules that a program has loaded in an interpreter of its own."""
    program += f"\nimport sys; print(*({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_milepost_loads_no_heavy_package() -> None:
    assert loaded_after("import milepost") == set()


def test_using_any_public_name_loads_no_framework() -> None:
    program = "import milepost\nfor name in milepost.__all__: getattr(milepost, name)"
    assert loaded_after(program) & FRAMEWORKS == set()


@pytest.mark.parametrize("name", milepost.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(milepost, name) is not None


def test_dir_lists_the_public_names() -> None:
    assert dir(milepost) == sorted(milepost.__all__)


def test_type_checkers_see_the_names_that_are_resolved() -> None:
    source = Path(milepost.__file__).read_text()
    (block,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    imports = (node for node in block.body if isinstance(node, ast.ImportFrom))
    names = {alias.asname for node in imports for alias in node.names}
    assert names | {"__version__"} == set(milepost.__all__)


def test_an_unknown_name_is_an_error_that_gives_the_nearest() -> None:
    with pytest.raises(AttributeError, match="did you mean 'Retrieval'"):
        _ = milepost.Retreival  # type: ignore[attr-defined]
