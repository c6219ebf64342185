"""The package table against the tree, and what a wheel and a source distribution hold."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS: dict[str, str] = TOOL["package-dir"]
LINKED = sorted(folder for folder in FOLDERS.values() if "/" not in folder and folder != "milepost")


def module_files() -> set[str]:
    """Every file of the package, by its place in a wheel."""
    return {
        f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder)}"
        for package, folder in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")  # which does not follow the links of milepost/
        if path.suffix in {".py", ".tsv", ".yaml", ".typed", ".html", ".css", ".js"}
    }


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command away from the repository and return what it printed."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source distribution and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("packaging")
    hidden = shutil.ignore_patterns(".[!c]*", "*.egg-info", "build", "dist", "runs", "__pycache__")
    shutil.copytree(ROOT, folder / "tree", symlinks=True, ignore=hidden)
    run(sys.executable, "-m", "build", "--no-isolation", folder / "tree", cwd=folder)
    return folder / "tree" / "dist"


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel was installed."""
    folder = tmp_path_factory.mktemp("installed")
    (wheel,) = dist.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target")
    run(*pip, folder, wheel, cwd=folder)
    return folder


def test_every_folder_with_modules_is_in_the_table() -> None:
    # rglob does not follow the links of milepost/
    modules = (path for top in (*LINKED, "milepost") for path in (ROOT / top).rglob("*.py"))
    assert {str(path.parent.relative_to(ROOT)) for path in modules} == set(FOLDERS.values())


def test_the_two_tables_hold_the_same_packages() -> None:
    assert TOOL["packages"] == sorted(FOLDERS)


@pytest.mark.parametrize("folder", LINKED)
def test_each_folder_is_linked_relatively(folder: str) -> None:
    assert (ROOT / "milepost" / folder).readlink() == Path("..") / folder


def test_there_are_no_other_links() -> None:
    links = sorted(path.name for path in (ROOT / "milepost").iterdir() if path.is_symlink())
    assert links == LINKED


def test_the_wheel_holds_every_module_and_the_package_data(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == module_files()
    assert {"milepost/py.typed", "milepost/configs/digits.yaml"} <= names


def test_the_wheel_tells_lightning_whom_to_ask_for_callbacks(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    (listed,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    text = archive.read(listed).decode()
    for package in ("lightning.pytorch", "pytorch_lightning"):
        factory = "milepost = milepost._lightning_recipe:callbacks"
        assert f"[{package}.callbacks_factory]\n{factory}\n" in text


def test_the_sdist_holds_what_the_wheel_needs_and_the_licence(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    linked = tuple(f"milepost/{folder}/" for folder in LINKED)
    needed = {
        name.removeprefix("milepost/") if name.startswith(linked) else name
        for name in module_files()
    }
    assert needed | {"LICENSE", "README.md", "pyproject.toml"} <= names


def test_every_module_is_imported_from_an_installed_wheel(installed: Path, tmp_path: Path) -> None:
    modules = sorted(
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in module_files()
        if name.endswith(".py") and not name.endswith("__main__.py")
    )
    frameworks = (
        *("torch", "tensorflow", "keras"),
        *("accelerate", "ignite", "lightning", "transformers"),
    )
    absent = [name for name in frameworks if find_spec(name) is None]
    program = (
        f"import importlib, sys; sys.path.insert(0, {str(installed)!r})\n"
        f"for name in {modules!r}:\n"
        f"    try:\n"
        f"        file = importlib.import_module(name).__file__\n"
        f"    except ModuleNotFoundError as error:\n"
        f"        assert error.name in {absent!r}, error\n"
        f"    else:\n"
        f"        assert file.startswith({str(installed)!r}), file\n"
    )
    run(sys.executable, "-I", "-c", program, cwd=tmp_path)


def test_constraints_are_exact_public_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    versions = [line.partition("==")[2] for line in lines if not line.startswith("#")]
    assert all(version and "+" not in version for version in versions)
