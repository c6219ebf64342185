"""The code of functions and classes, and what it refers to, for a digest.

The user's own code is followed to everything that it refers to. Code that was installed is known by
its version; what of it runs in a model is compared all the same, since it may have been replaced.
"""

import builtins
import contextlib
import dis
import functools
import importlib.metadata
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from milepost.predictors._identity import UnidentifiedError

Origin = Literal["standard", "installed", "own"]

_PURE = frozenset(
    "__future__ abc base64 bisect builtins cmath collections contextlib copy copyreg dataclasses "
    "decimal enum fractions functools hashlib heapq inspect itertools json keyword logging math "
    "numbers operator re reprlib statistics string struct textwrap traceback types typing "
    "unicodedata warnings weakref".split()
)
"""Modules of Python whose functions read nothing but their arguments."""

_IMPURE_BUILTINS = frozenset(
    "__import__ breakpoint compile eval exec globals hash id input locals open".split()
)
_IMPURE_NAMES = frozenset(
    "Generator RandomState default_rng environ from_file fromfile genfromtxt getenv hub imread "
    "initial_seed load loadtxt memmap open read_file read_image seed urandom".split()
)
"""Names in installed packages of what reads files, settings or generators of its own."""

_CONSTRUCTION = frozenset(
    "__init__ __new__ __post_init__ __init_subclass__ __del__ __repr__ __str__ extra_repr "
    "__getstate__ __setstate__ __reduce__ __reduce_ex__ __deepcopy__ __copy__".split()
)
"""Methods that do not run in a forward pass of an instance that is there."""

_BOOKKEEPING = frozenset(
    "__dict__ __weakref__ __doc__ __module__ __annotations__ __abstractmethods__ _abc_impl "
    "__orig_bases__ __parameters__ __slots__ __match_args__ __dataclass_params__ "
    "__slotnames__ __static_attributes__ __firstlineno__ __annotate__ __annotate_func__ __hash__".split()
)


class Hash(Protocol):
    """What `StateHash` gives to the functions here."""

    def word(self, *words: object) -> None: ...
    def add(self, value: Any) -> None: ...
    def is_known(self, value: Any) -> bool: ...


class Names(NamedTuple):
    """The names in a function's code, those of functions inside it included."""

    globals: frozenset[str]
    imports: frozenset[str]
    all: frozenset[str]


def is_pure(module: str) -> bool:
    """Tell whether the code of a module may be trusted to read nothing but its arguments."""
    return _origin(module) != "standard" or module.partition(".")[0].lstrip("_") in _PURE


def add_function(out: Hash, function: types.FunctionType, *, follow: bool = True) -> None:
    """Add a function: its code, defaults and closure, and what it refers to."""
    module = _home(function)
    origin = _origin(module)
    out.word("function", module, function.__qualname__)
    _add_code(out, function.__code__)
    for part in (function.__defaults__, function.__kwdefaults__):
        out.add(part)
    within = _functions_within(function)
    if origin == "own" or any(_origin(_home(inner)) == "own" for inner in within):
        out.add(function.__closure__)
        out.add(vars(function))
    else:
        out.add(within)
    if origin == "installed":
        out.word(_version(module))
    if follow and (origin == "own" or function.__name__ == "forward"):
        _add_references(out, function, origin)
    if origin == "standard" and not is_pure(module):
        raise UnidentifiedError(f"it may run {module}.{function.__qualname__}")


def add_class(out: Hash, kind: type) -> None:
    """Add a class: the code of its methods and its other attributes, its bases' included."""
    for base in kind.__mro__:
        out.word("class", base.__module__, base.__qualname__)
        origin = _origin(base.__module__)
        if origin == "standard":
            if not is_pure(base.__module__):
                raise UnidentifiedError(f"it may run {base.__module__}.{base.__qualname__}")
        elif base is kind or not out.is_known(base):
            if origin == "installed":
                out.word(_version(base.__module__))
            for name, value in sorted(vars(base).items()):
                if name not in _BOOKKEEPING:
                    out.word(name)
                    _add_member(out, name, value, origin)


def _add_member(out: Hash, name: str, value: Any, origin: Origin) -> None:
    function = getattr(value, "__func__", value)
    if isinstance(function, types.FunctionType):
        follows = name not in _CONSTRUCTION or _origin(_home(function)) != origin
        if not out.is_known(function):
            add_function(out, function, follow=follows)
    elif origin == "own" or isinstance(value, bool | int | float | str | property):
        out.add(value)


def add_module(out: Hash, module: types.ModuleType) -> None:
    """Add a module by its name and version."""
    out.word("module", module.__name__)
    origin = _origin(module.__name__)
    if origin == "standard" and not is_pure(module.__name__):
        raise UnidentifiedError(f"it may run what is in `{module.__name__}`")
    if origin == "installed":
        out.word(_version(module.__name__))


def add_native(out: Hash, function: Any) -> None:
    """Add a function that is not written in Python, by its name."""
    module = getattr(function, "__module__", None) or ""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__qualname__", function.__name__)
    out.word("native", module, name)
    if owner is not None and not isinstance(owner, types.ModuleType | type):
        out.add(owner)
    elif not is_pure(module) or (module == "builtins" and name in _IMPURE_BUILTINS):
        raise UnidentifiedError(f"it may run {module}.{name}")


def _add_code(out: Hash, code: types.CodeType) -> None:
    """Add what a function does, but for where it is written."""
    out.word("code", code.co_name, code.co_flags, code.co_argcount)
    out.word(code.co_posonlyargcount, code.co_kwonlyargcount, code.co_code.hex())
    out.word(code.co_exceptiontable.hex(), *code.co_names, "", *code.co_varnames, "")
    out.word(*code.co_freevars, "", *code.co_cellvars, "", len(code.co_consts))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _add_code(out, constant)
        elif isinstance(constant, tuple):
            out.add(list(constant))
        else:
            out.add(constant)


def _add_references(out: Hash, function: types.FunctionType, origin: Origin) -> None:
    """Add what a function refers to by name: all, or the functions where it was installed."""
    for path, value in _references(function, origin):
        if origin == "own" or isinstance(value, types.FunctionType):
            out.word(path)
            out.add(value)
            if isinstance(value, type):
                _add_construction(out, value)


def _add_construction(out: Hash, kind: type) -> None:
    """Add what runs when an instance of the user's own class is made."""
    for base in kind.__mro__:
        for name in sorted(_CONSTRUCTION.intersection(vars(base))):
            method = getattr(vars(base)[name], "__func__", vars(base)[name])
            own = isinstance(method, types.FunctionType) and _origin(base.__module__) == "own"
            if own and not out.is_known(method.__code__):
                _add_references(out, method, "own")


def _references(function: types.FunctionType, origin: Origin) -> Iterator[tuple[str, Any]]:
    """Give what the names in a function stand for, those after a module's dot included."""
    names, pending, seen = _names(function.__code__), dict[str, Any](), set[int]()
    for name in sorted(names.imports):
        pending[name] = sys.modules.get(name)
        if pending[name] is None and origin == "own":
            raise UnidentifiedError(f"{function.__qualname__} imports {name!r} when it runs")
    for name in sorted(names.globals):
        if name in function.__globals__:
            pending[name] = function.__globals__[name]
        elif name in _IMPURE_BUILTINS and origin == "own":
            raise UnidentifiedError(f"{function.__qualname__} calls `{name}`")
    while pending:
        path, value = pending.popitem()
        if not isinstance(value, types.ModuleType):
            yield path, value
        elif id(value) not in seen:
            seen.add(id(value))
            yield path, value
            pending |= _members(value, path, names.all, origin)


def _members(
    module: types.ModuleType, path: str, names: frozenset[str], origin: Origin
) -> dict[str, Any]:
    """Return what a function may mean that calls a module's attributes by some names."""
    of = _origin(module.__name__)
    found = {name: vars(module)[name] for name in sorted(names) if name in vars(module)}
    if origin == "own" and of == "own" and "getattr" in names:
        raise UnidentifiedError(f"it may look anything up in `{module.__name__}` by `getattr`")
    if origin == "own" and of == "installed" and not _IMPURE_NAMES.isdisjoint(found):
        raise UnidentifiedError(
            f"it may run {module.__name__}.{min(_IMPURE_NAMES.intersection(found))}"
        )
    return {} if of == "standard" else {f"{path}.{name}": found[name] for name in found}


def _names(code: types.CodeType) -> Names:
    """Return the names in a function, those of functions inside it included."""
    parts = [_names(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            parts.append(Names(frozenset([step.argval]), frozenset(), frozenset()))
        elif step.opname == "IMPORT_NAME":
            parts.append(Names(frozenset(), frozenset([step.argval]), frozenset()))
    return Names(
        frozenset().union(*(part.globals for part in parts)),
        frozenset().union(*(part.imports for part in parts)),
        frozenset(code.co_names).union(*(part.all for part in parts)),
    )


def _home(function: types.FunctionType) -> str:
    """Return the name of the module whose globals a function sees, whatever was copied to it."""
    return str(function.__globals__.get("__name__"))


def _functions_within(function: types.FunctionType) -> list[types.FunctionType]:
    """Return the functions that one stands for, which a decorator may have made."""
    contents = map(_content, function.__closure__ or ())
    return [content for content in contents if isinstance(content, types.FunctionType)]


def _content(cell: types.CellType) -> Any:
    with contextlib.suppress(ValueError):  # it is empty
        return cell.cell_contents


def _origin(module: str) -> Origin:
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
def _version(module: str) -> str:
    """Return the version of the package that a module belongs to."""
    top = module.partition(".")[0]
    version = getattr(sys.modules.get(top), "__version__", None)
    if version is None:
        try:
            version = importlib.metadata.version(top)
        except importlib.metadata.PackageNotFoundError as error:
            raise UnidentifiedError(f"it runs {top!r}, whose version is not known") from error
    return f"{top} {version}"
