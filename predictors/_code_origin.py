"""Where code comes from."""

import functools
import importlib.metadata
import sys
import sysconfig
from pathlib import Path
from typing import Literal

from milepost.predictors._identity import UnidentifiedError

Origin = Literal["standard", "installed", "own"]

_PURE = frozenset(
    [
        "__future__",
        "abc",
        "base64",
        "bisect",
        "builtins",
        "cmath",
        "collections",
        "contextlib",
        "copy",
        "copyreg",
        "dataclasses",
        "decimal",
        "enum",
        "fractions",
        "functools",
        "hashlib",
        "heapq",
        "inspect",
        "itertools",
        "json",
        "keyword",
        "logging",
        "math",
        "numbers",
        "operator",
        "re",
        "reprlib",
        "statistics",
        "string",
        "struct",
        "textwrap",
        "traceback",
        "types",
        "typing",
        "unicodedata",
        "warnings",
        "weakref",
    ]
)
"""Modules of Python whose functions read nothing but their arguments."""


def is_pure(module: str) -> bool:
    """Tell whether the code of a module may be trusted to read nothing but its arguments."""
    return origin_of(module) != "standard" or module.partition(".")[0].lstrip("_") in _PURE


def origin_of(module: str) -> Origin:
    """Tell where a module comes from: Python itself, a package that was installed, or the user."""
    top = module.partition(".")[0]
    found = sys.modules.get(module)
    file = getattr(found, "__file__", None) or getattr(sys.modules.get(top), "__file__", None)
    if top == "milepost":
        return "installed"
    if file is None:
        return "standard" if top in sys.stdlib_module_names and top != "__main__" else "own"
    return _origin_of_file(file)


@functools.cache
def _origin_of_file(file: str) -> Origin:
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"}.intersection(path.parts):
        return "installed"
    standard = Path(sysconfig.get_path("stdlib")).resolve()
    return "standard" if path.is_relative_to(standard) else "own"


@functools.cache
def version_of(module: str) -> str:
    """Return the version of the package that a module belongs to."""
    top = module.partition(".")[0]
    version = getattr(sys.modules.get(top), "__version__", None)
    if version is None:
        try:
            version = importlib.metadata.version(top)
        except importlib.metadata.PackageNotFoundError as error:
            msg = f"it runs {top!r}, whose version is not known"
            raise UnidentifiedError(msg) from error
    return f"{top} {version}"
