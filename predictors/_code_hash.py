"""The code of functions and classes, and what it refers to, for a digest.

The user's own code is followed to everything that it refers to. Code that was installed is known by
its version; what of it runs in a model is compared all the same, since it may have been replaced.
"""

import builtins
import contextlib
import dis
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from milepost.predictors._code_names import (
    BOOKKEEPING,
    CONSTRUCTION,
    IMPURE_BUILTINS,
    IMPURE_NAMES,
    PAST_A_CALL,
)
from milepost.predictors._code_origin import Origin, is_pure, origin_of, version_of
from milepost.predictors._identity import UnidentifiedError


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


def add_function(out: Hash, function: types.FunctionType, *, follow: bool = True) -> None:
    """Add a function: its code, defaults and closure, and what it refers to."""
    module = _home(function)
    origin = origin_of(module)
    out.word("function", module, function.__qualname__)
    _add_code(out, function.__code__)
    for part in (function.__defaults__, function.__kwdefaults__):
        out.add(part)
    within = _functions_within(function)
    if origin == "own" or any(origin_of(_home(inner)) == "own" for inner in within):
        out.add(function.__closure__)
        out.add(vars(function))
    else:
        out.add(within)
    if origin == "installed":
        out.word(version_of(module))
    if follow and (origin == "own" or function.__name__ == "forward"):
        _add_references(out, function, origin)
    if origin == "standard" and not is_pure(module):
        msg = f"it may run {module}.{function.__qualname__}"
        raise UnidentifiedError(msg)


def add_class(out: Hash, kind: type) -> None:
    """Add a class: the code of its methods and its other attributes, its bases' included."""
    if type(kind) is not type:
        out.add(type(kind))
    for base in kind.__mro__:
        out.word("class", base.__module__, base.__qualname__)
        origin = origin_of(base.__module__)
        if origin == "standard":
            if not is_pure(base.__module__):
                msg = f"it may run {base.__module__}.{base.__qualname__}"
                raise UnidentifiedError(msg)
        elif base is kind or not out.is_known(base):
            if origin == "installed":
                out.word(version_of(base.__module__))
            names = sorted(set(vars(base)) - BOOKKEEPING)
            out.word(len(names))
            for name in names:
                out.word(name)
                _add_member(out, name, vars(base)[name], origin)


def _add_member(out: Hash, name: str, value: Any, origin: Origin) -> None:
    function = getattr(value, "__func__", value)
    if isinstance(function, types.FunctionType):
        follows = name not in CONSTRUCTION or origin_of(_home(function)) != origin
        if not out.is_known(function):
            add_function(out, function, follow=follows)
    elif origin == "own" or isinstance(value, bool | int | float | str | property):
        out.add(value)


def add_module(out: Hash, module: types.ModuleType) -> None:
    """Add a module by its name and version."""
    out.word("module", module.__name__)
    origin = origin_of(module.__name__)
    if origin == "standard" and not is_pure(module.__name__):
        msg = f"it may run what is in `{module.__name__}`"
        raise UnidentifiedError(msg)
    if origin == "installed":
        out.word(version_of(module.__name__))


def add_native(out: Hash, function: Any) -> None:
    """Add a function that is not written in Python, by its name."""
    module = getattr(function, "__module__", None) or ""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__qualname__", function.__name__)
    out.word("native", module, name)
    if owner is not None and not isinstance(owner, types.ModuleType | type):
        out.add(owner)
    elif not is_pure(module) or (module == "builtins" and name in IMPURE_BUILTINS):
        msg = f"it may run {module}.{name}"
        raise UnidentifiedError(msg)


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
    found = [
        (path, value)
        for path, value in _references(function, origin)
        if origin == "own" or isinstance(value, types.FunctionType)
    ]
    out.word(len(found))
    for path, value in found:
        out.word(path)
        out.add(value)
        if isinstance(value, type):
            _add_construction(out, value)


def _add_construction(out: Hash, kind: type) -> None:
    """Add what runs when an instance of the user's own class is made."""
    for base in kind.__mro__:
        for name in sorted(CONSTRUCTION.intersection(vars(base))):
            method = getattr(vars(base)[name], "__func__", vars(base)[name])
            own = isinstance(method, types.FunctionType) and origin_of(base.__module__) == "own"
            if own and not out.is_known(method.__code__):
                _add_references(out, method, "own")


def _references(function: types.FunctionType, origin: Origin) -> Iterator[tuple[str, Any]]:
    """Give what the names in a function stand for, those after a module's dot included."""
    names, pending, seen = _names(function.__code__), dict[str, Any](), set[int]()
    if origin == "own" and not PAST_A_CALL.isdisjoint(names.all):
        msg = f"{function.__qualname__} looks into a tokenizer"
        raise UnidentifiedError(msg)
    for name in sorted(names.imports):
        pending[name] = _imported(name, function)
        if pending[name] is None and origin == "own":
            msg = f"{function.__qualname__} imports {name!r} when it runs"
            raise UnidentifiedError(msg)
    for name in sorted(names.globals):
        if name in function.__globals__:
            pending[name] = function.__globals__[name]
        elif name in IMPURE_BUILTINS and origin == "own":
            msg = f"{function.__qualname__} calls `{name}`"
            raise UnidentifiedError(msg)
        else:
            pending[name] = getattr(builtins, name, None)
    while pending:
        path, value = pending.popitem()
        if not isinstance(value, types.ModuleType):
            yield path, value
        elif id(value) not in seen:
            seen.add(id(value))
            yield path, value
            pending |= _members(value, path, names.all, origin)


def _imported(name: str, function: types.FunctionType) -> types.ModuleType | None:
    """Return the module that a statement in a function imports; None if it is not there yet."""
    package = function.__globals__.get("__package__")
    with contextlib.suppress(ImportError, TypeError, ValueError):
        return sys.modules.get(importlib.util.resolve_name(name, package))
    return None


def _members(
    module: types.ModuleType, path: str, names: frozenset[str], origin: Origin
) -> dict[str, Any]:
    """Return what a function may mean that calls a module's attributes by some names."""
    of = origin_of(module.__name__)
    found = {name: vars(module)[name] for name in sorted(names) if name in vars(module)}
    if origin == "own" and of == "own" and "getattr" in names:
        msg = f"it may look anything up in `{module.__name__}` by `getattr`"
        raise UnidentifiedError(msg)
    if origin == "own" and of == "installed" and not IMPURE_NAMES.isdisjoint(found):
        msg = f"it may run {module.__name__}.{min(IMPURE_NAMES.intersection(found))}"
        raise UnidentifiedError(msg)
    return {} if of == "standard" else {f"{path}.{name}": found[name] for name in found}


def _names(code: types.CodeType) -> Names:
    """Return the names in a function, those of functions inside it included."""
    parts = [_names(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    steps = list(dis.get_instructions(code))
    for number, step in enumerate(steps):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            parts.append(Names(frozenset([step.argval]), frozenset(), frozenset()))
        elif step.opname == "IMPORT_NAME":
            name = "." * steps[number - 2].argval + step.argval  # after its level and its list
            parts.append(Names(frozenset(), frozenset([name]), frozenset()))
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
