"""A digest of Python values, down to the code that they run."""

import enum
import functools
import hashlib
import logging
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

import numpy as np

from milepost.predictors._code_hash import add_class, add_function, add_module, add_native, is_pure
from milepost.predictors._identity import UnidentifiedError

_PLAIN = (bool, complex, float, bytes, str, range, slice, type(None), type(...))
_NATIVE = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)
_NATIVE += (types.MethodWrapperType, types.ClassMethodDescriptorType, types.GetSetDescriptorType)
_NATIVE += (types.MemberDescriptorType, np.ufunc)


@final
class StateHash:
    """Digests values: of equal digests, code that is given either makes the same.

    Instances are gone through, attribute by attribute, and so are the classes and functions that
    they run, with the globals and closures these refer to. No identity, order of a set or path of
    a file counts, so that other processes find the same.

    Args:
        special: adds a value that a framework knows best, and tells whether it did.
    """

    def __init__(self, special: Callable[["StateHash", Any], bool]) -> None:
        self._special = special
        self._digest = hashlib.sha256()
        self._seen: dict[int, tuple[int, Any]] = {}  # held, so that no other takes an identity over

    def digest(self) -> bytes:
        """Return the digest of what was added since the last one."""
        ended, self._digest = self._digest, hashlib.sha256()
        return ended.digest()

    def word(self, *words: object) -> None:
        """Add words, each with its length, so that no two sequences of them are alike."""
        for word in words:
            data = str(word).encode(errors="surrogatepass")
            self._digest.update(b"%d:" % len(data))
            self._digest.update(data)

    def memory(self, data: Any) -> None:
        """Add plain memory."""
        view = memoryview(data).cast("B")
        self._digest.update(b"%d:" % view.nbytes)
        self._digest.update(view)

    def is_known(self, value: Any) -> bool:
        """Tell whether a value was there before, and add which; else take note of it."""
        if id(value) in self._seen:
            self.word("known", self._seen[id(value)][0])
            return True
        self._seen[id(value)] = len(self._seen), value
        return False

    def add(self, value: Any) -> None:
        """Add a value.

        Raises:
            UnidentifiedError: it is, or holds, what cannot be told from others for sure.
        """
        if type(value) in _PLAIN:
            self.word(type(value).__name__, repr(value))
        elif type(value) is int:
            self.word("int", hex(value))
        elif isinstance(value, np.ndarray | np.generic | np.dtype):
            self._add_numpy(value)
        elif not self._special(self, value) and not self.is_known(value):
            self._add_object(value)

    def _add_numpy(self, value: Any) -> None:
        if isinstance(value, np.dtype):
            self.word("dtype", value.descr)
        elif value.dtype.hasobject:
            self.word("objects", value.shape)
            self.add(value.tolist())
        elif type(value) in (np.ndarray, np.memmap) or isinstance(value, np.generic):
            array = np.asarray(value)
            strides = None if array.flags.c_contiguous else array.strides
            self.word("array", array.dtype.descr, array.shape, strides)
            self.memory(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        else:
            raise UnidentifiedError(f"it holds {_described(value)}")

    def _add_object(self, value: Any) -> None:
        if isinstance(value, types.FunctionType):
            add_function(self, value)
        elif isinstance(value, type):
            add_class(self, value)
        elif isinstance(value, types.ModuleType):
            add_module(self, value)
        elif isinstance(value, _NATIVE):
            add_native(self, value)
        elif not self._add_wrapper(value):
            self._add_instance(value)

    def _add_wrapper(self, value: Any) -> bool:
        """Add what stands for something else, and tell whether it does."""
        parts: tuple[Any, ...]
        if isinstance(value, types.MethodType):
            parts = value.__func__, value.__self__
        elif isinstance(value, functools.partial):
            parts = value.func, value.args, value.keywords
        elif isinstance(value, property):
            parts = value.fget, value.fset, value.fdel
        elif isinstance(value, staticmethod | classmethod | functools._lru_cache_wrapper):
            parts = (value.__wrapped__,)
        elif isinstance(value, functools.cached_property):
            parts = (value.func,)
        elif isinstance(value, weakref.ref):
            parts = (value(),)
        elif isinstance(value, types.CellType):
            parts = () if _is_empty(value) else (value.cell_contents,)
        elif isinstance(value, types.MappingProxyType):
            parts = (dict(value),)
        else:
            return False
        self.word(type(value).__name__, len(parts))
        for part in parts:
            self.add(part)
        return True

    def _add_instance(self, value: Any) -> None:
        kind = type(value)
        self.word("instance")
        self.add(kind) if not kind.__module__ == "builtins" else self.word(kind.__name__)
        if isinstance(value, logging.Logger):
            return  # what it does with a message changes no output
        if isinstance(value, enum.Enum):
            self.word(value.name)
            return
        is_container = isinstance(value, dict | list | tuple | set | frozenset)
        if is_container:
            self._add_items(value)
        if not is_container or hasattr(value, "__dict__"):
            self._add_state(value)

    def _add_items(self, value: Any) -> None:
        self.word(len(value))
        if isinstance(value, dict):
            for key, item in value.items():
                self.add(key)
                self.add(item)
            if hasattr(value, "default_factory"):
                self.add(value.default_factory)
        elif isinstance(value, list | tuple):
            for item in value:
                self.add(item)
        else:
            self._add_unordered(value)

    def _add_unordered(self, items: Iterable[Any]) -> None:
        for digest in sorted(digest_of(item, self._special) for item in items):
            self.memory(digest)

    def _add_state(self, value: Any) -> None:
        """Add the attributes of an instance, of a class that Python alone defines.

        Python itself tells whether there is more to it than these.
        """
        kind = type(value)
        own_way = any(
            getattr(kind, name, None) is not getattr(object, name, None)
            for name in ("__reduce_ex__", "__reduce__", "__getstate__")
        )
        if isinstance(value, dict | list | tuple | set | frozenset):
            self.add(vars(value))
            return
        if own_way or not is_pure(kind.__module__):
            raise UnidentifiedError(f"it holds {_described(value)}")
        try:
            _, (_, *arguments), state, *_ = object.__reduce_ex__(value, 2)  # type: ignore[misc]
        except TypeError as error:
            raise UnidentifiedError(f"it holds {_described(value)}") from error
        self.add(arguments)
        self.add(state)


def digest_of(value: Any, special: Callable[[StateHash, Any], bool]) -> bytes:
    """Return the digest of one value."""
    own = StateHash(special)
    own.add(value)
    return own.digest()


def differing(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[str]:
    """Return the names of the parts whose digests differ."""
    return [name for name in {**before, **after} if before.get(name) != after.get(name)]


def _is_empty(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is cell
    except ValueError:
        return True


def _described(value: Any) -> str:
    return f"a {type(value).__module__}.{type(value).__qualname__}, which may do anything"
