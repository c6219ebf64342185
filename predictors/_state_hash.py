"""A digest of Python values, down to the code that they run."""

import enum
import functools
import hashlib
import logging
import re
import struct
import types
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np

from milepost.predictors._code_hash import add_class, add_function, add_module, add_native
from milepost.predictors._code_origin import is_pure
from milepost.predictors._identity import UnidentifiedError

_CONTAINERS = (dict, list, tuple, set, frozenset)
_SCALARS = (str, bytes, int, float, complex)
_PLAIN = (bool, complex, float, bytes, str, range, slice, type(None), type(...))
_NATIVE = (
    types.BuiltinFunctionType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    np.ufunc,
)
_HEAP_TYPE = 1 << 9  # a flag that Python gives to each class that is not built in
_POINTER_BYTES = struct.calcsize("P")


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
            msg = f"it holds an array of {type(value).__qualname__}"
            raise UnidentifiedError(msg)

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
        for kind, parts_of in _WRAPPERS.items():
            if isinstance(value, kind):
                parts = parts_of(value)
                self.word(kind.__name__, len(parts))
                for part in parts:
                    self.add(part)
                return True
        return False

    def _add_instance(self, value: Any) -> None:
        kind = type(value)
        self.word("instance")
        self.add(kind) if kind.__module__ != "builtins" else self.word(kind.__name__)
        if isinstance(value, logging.Logger):
            return  # what it does with a message changes no output
        if isinstance(value, enum.Enum):
            self.word(value.name)
            return
        if isinstance(value, re.Pattern):
            self.add([value.pattern, value.flags])
            return
        if isinstance(value, _CONTAINERS + _SCALARS):
            self._add_items(value)
            if getattr(value, "__dict__", None):
                self.add(vars(value))
        else:
            self.add_attributes(value)

    def _add_items(self, value: Any) -> None:
        if isinstance(value, _SCALARS):
            self.word(next(kind for kind in _SCALARS if isinstance(value, kind)).__repr__(value))
            return
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

    def add_attributes(self, value: Any) -> None:
        """Add the attributes of an instance, of a class that Python alone defines.

        The size of an instance tells whether there is more to it than these.
        """
        kind = type(value)
        slots = [
            (name, slot)
            for base in kind.__mro__
            if "__slots__" in vars(base)
            for name, slot in sorted(vars(base).items())
            if isinstance(slot, types.MemberDescriptorType)
        ]
        offsets = sum(offset != 0 for offset in (kind.__dictoffset__, kind.__weakrefoffset__))
        known = object.__basicsize__ + _POINTER_BYTES * (len(slots) + offsets)
        in_python = all(base.__flags__ & _HEAP_TYPE for base in kind.__mro__[:-1])
        if not in_python or kind.__basicsize__ > known or not is_pure(kind.__module__):
            msg = f"it holds a {kind.__module__}.{kind.__qualname__}, whose state cannot be seen"
            raise UnidentifiedError(msg)
        self.add(getattr(value, "__dict__", {}))
        for name, slot in slots:
            if hasattr(value, name):
                self.word(name)
                self.add(slot.__get__(value))


def digest_of(value: Any, special: Callable[[StateHash, Any], bool]) -> bytes:
    """Return the digest of one value."""
    own = StateHash(special)
    own.add(value)
    return own.digest()


def differing(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[str]:
    """Return the names of the parts whose digests differ."""
    return [name for name in {**before, **after} if before.get(name) != after.get(name)]


def _contents(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # it is empty
        return ()


_WRAPPERS: dict[type, Callable[[Any], Sequence[Any]]] = {
    types.MethodType: lambda x: (x.__func__, x.__self__),
    functools.partial: lambda x: (x.func, x.args, x.keywords),
    property: lambda x: (x.fget, x.fset, x.fdel),
    staticmethod: lambda x: (x.__func__,),
    classmethod: lambda x: (x.__func__,),
    functools._lru_cache_wrapper: lambda x: (x.__wrapped__,),
    functools.cached_property: lambda x: (x.func,),
    weakref.ref: lambda x: (x(),),
    types.CellType: _contents,
    types.MappingProxyType: lambda x: (dict(x),),
    types.GenericAlias: lambda x: (x.__origin__, x.__args__),
    types.UnionType: lambda x: x.__args__,
}
"""What stands for something else, and the parts that it is made of."""
