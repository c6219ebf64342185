"""Names that mean something for what code does."""

IMPURE_BUILTINS = frozenset(
    [
        "__import__",
        "breakpoint",
        "compile",
        "eval",
        "exec",
        "globals",
        "hash",
        "id",
        "input",
        "locals",
        "open",
    ]
)
IMPURE_NAMES = frozenset(
    [
        "Generator",
        "RandomState",
        "default_rng",
        "environ",
        "from_file",
        "fromfile",
        "genfromtxt",
        "getenv",
        "hub",
        "imread",
        "initial_seed",
        "load",
        "loadtxt",
        "memmap",
        "open",
        "read_file",
        "read_image",
        "seed",
        "urandom",
    ]
)
"""Names in installed packages of what reads files, settings or generators of its own."""

CONSTRUCTION = frozenset(
    [
        "__init__",
        "__new__",
        "__post_init__",
        "__init_subclass__",
        "__del__",
        "__repr__",
        "__str__",
        "extra_repr",
        "__getstate__",
        "__setstate__",
        "__reduce__",
        "__reduce_ex__",
        "__deepcopy__",
        "__copy__",
    ]
)
"""Methods that do not run in a forward pass of an instance that is there."""

BOOKKEEPING = frozenset(
    [
        "__dict__",
        "__weakref__",
        "__doc__",
        "__module__",
        "__annotations__",
        "__abstractmethods__",
        "_abc_impl",
        "__orig_bases__",
        "__parameters__",
        "__slots__",
        "__match_args__",
        "__dataclass_params__",
        "__slotnames__",
        "__static_attributes__",
        "__firstlineno__",
        "__annotate__",
        "__annotate_func__",
        "__hash__",
    ]
)

PAST_A_CALL = frozenset({"_tokenizer", "backend_tokenizer"})
"""Attributes of a tokenizer by which code sees what an earlier call left there."""
