"""A recipe's file and its overrides as one mapping whose every name is known.

Values are left to the parser that types them; here names are checked, so that one that does not
exist is an error that says where it stands and gives the nearest.
"""

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from milepost import errors
from milepost._plugins import registered

_RECIPES = Path(__file__).with_name("configs")
_NAMED = ("milepost.inferencers", "milepost.callbacks", "milepost.callbacks.monitors")

Names = Collection[str] | None
"""Which keys a mapping may have; None where any may be."""


def read(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Args:
        path: the file, or the name of a recipe that is shipped, such as `digits`.

    Raises:
        UnknownNameError: it is a name, and no recipe's.
        OSError: the file cannot be read.
        TypeError: it does not hold a mapping.
        ValueError: it is not YAML.
    """
    if path.suffix == "" and path.name == str(path) and not path.exists():
        shipped = {each.stem: each for each in _RECIPES.glob("*.yaml")}
        if path.name not in shipped:
            raise errors.unknown_name("recipe", path.name, shipped)
        path = shipped[path.name]
    try:
        with path.open(encoding="utf-8") as file:
            config = yaml.safe_load(file)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        msg = f"{path} is not YAML: {error}"
        raise ValueError(msg) from error
    if not isinstance(config, dict):
        msg = f"{path} must hold a mapping of keys to values, got {type(config).__name__}"
        raise TypeError(msg)
    return config


def override(config: dict[str, Any], arguments: Sequence[str]) -> None:
    """Set keys of a mapping from arguments such as `--model.dimension 32` or `--epochs=3`.

    Dots lead into mappings and, by position, into lists; `init_args` may be left out. A value is
    YAML. A dotted path in place of a class takes the place of its arguments too.

    Raises:
        ValueError: an argument is not such a pair, or leads nowhere.

    Example:
        >>> config = {"model": {"class_path": "my.Net", "init_args": {"dimension": 64}}}
        >>> override(config, ["--model.dimension", "32", "--epochs=3"])
        >>> config["model"]["init_args"], config["epochs"]
        ({'dimension': 32}, 3)
    """
    rest = list(arguments)
    while rest:
        key, equals, value = rest.pop(0).partition("=")
        if not key.startswith("--") or not (equals or rest):
            msg = f"an override is `--KEY VALUE` or `--KEY=VALUE`, got {key!r}"
            raise ValueError(msg)
        try:
            _set(config, key[2:].split("."), yaml.safe_load(value if equals else rest.pop(0)))
        except (LookupError, TypeError, ValueError, yaml.YAMLError) as error:
            msg = f"{key} cannot be set: {error}"
            raise ValueError(msg) from error


def _set(config: Any, keys: Sequence[str], value: Any) -> None:
    *path, last = keys
    for key in path:
        config, place = _place(config, key)
        if isinstance(config, dict):
            config.setdefault(place, {})
        config = config[place]
    config, place = _place(config, last)
    is_class = isinstance(value, str) and (isinstance(config, list) or place in config)
    config[place] = {"class_path": value} if is_class and _is_spec(config[place]) else value


def _place(config: Any, key: str) -> tuple[Any, Any]:
    """Return the mapping or list in which a key stands, and the key in it."""
    if _is_spec(config) and key not in ("class_path", "init_args"):
        config = config.setdefault("init_args", {})
    if not isinstance(config, dict | list):
        msg = f"there is no {key!r} in {config!r}"
        raise TypeError(msg)
    return config, int(key) if isinstance(config, list) else key


def _is_spec(value: Any) -> bool:
    return isinstance(value, dict) and "class_path" in value


def spell_out(config: Any) -> None:
    """Put the dotted path of an inferencer, callback or monitor in place of its bare name.

    Example:
        >>> config = [{"class_path": "Retrieval"}]
        >>> spell_out(config)
        >>> config
        [{'class_path': 'milepost.inferencers.Retrieval'}]
    """
    if _is_spec(config):
        name = str(config["class_path"])
        module = next((x for x in _NAMED if "." not in name and name in _names(x)), None)
        if module is not None:
            config["class_path"] = f"{module}.{name}"
    if isinstance(config, dict | list):
        for value in config.values() if isinstance(config, dict) else config:
            spell_out(value)


def _names(module: str) -> list[str]:
    """Return the names of the classes of a module, plug-ins included."""
    own = [name for name, x in vars(importlib.import_module(module)).items() if inspect.isclass(x)]
    return [*own, *registered(module.rpartition(".")[2])]


def check(config: Any, names: Names, where: str = "") -> None:
    """Raise if any key or class path in a configuration does not exist.

    Args:
        config: the mapping, list or value.
        names: the keys that it may have at its top, if it is a mapping.
        where: the dotted path to it.

    Raises:
        UnknownNameError: a key does not exist; the message gives the nearest.
        ImportError: a class path leads nowhere.
    """
    if _is_spec(config):
        check_keys(config, ("class_path", "init_args"), where)
        target = find(config["class_path"], where)
        check(config.get("init_args", {}), parameters(target), f"{where}.init_args".lstrip("."))
    elif isinstance(config, dict):
        check_keys(config, names, where)
        for key, value in config.items():
            check(value, None, f"{where}.{key}".lstrip("."))
    elif isinstance(config, list):
        for position, value in enumerate(config):
            check(value, None, f"{where}.{position}")


def check_keys(config: Mapping[str, Any], names: Names, where: str) -> None:
    """Raise if a mapping has a key that is not one of the names."""
    for key in config:
        if names is not None and key not in names:
            raise errors.unknown_name(f"key of {where}" if where else "key", str(key), names)


def find(path: Any, where: str) -> Any:
    """Return the class or function that a dotted path leads to.

    Raises:
        ImportError: it leads nowhere.
    """
    module_name, _, name = str(path).rpartition(".")
    try:
        module = importlib.import_module(module_name) if module_name else None
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and misses one of its own
        msg = f"{where}: there is no module {error.name!r} for {path!r}, from this folder either"
        raise ImportError(msg) from error
    if module is None:
        known = [name for module in _NAMED for name in _names(module)]
        nearest = difflib.get_close_matches(str(path), known, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        msg = (
            f"{where}: a class path is `package.module.Class`, or the name of an inferencer, "
            f"callback or monitor, got {path!r}{hint}"
        )
        raise ImportError(msg)
    if not hasattr(module, name):
        public = [known for known in dir(module) if not known.startswith("_")]
        reason = errors.unknown_name(f"name in module {module_name!r}:", name, public)
        msg = f"{where}: {re.split(';? [Tt]here are:', str(reason))[0]}"
        raise ImportError(msg)
    return getattr(module, name)


def parameters(target: Callable[..., Any]) -> Names:
    """Return the names that a class or function takes; None if it takes any."""
    try:
        signature = inspect.signature(target).parameters
    except ValueError:  # some built-in classes do not tell
        return None
    any_name = any(one.kind is one.VAR_KEYWORD for one in signature.values())
    return None if any_name else list(signature)


def check_counts(**counts: int | None) -> None:
    """Raise if a value of a recipe that is given is not at least 1."""
    for name, value in counts.items():
        if value is not None and value < 1:
            msg = f"`{name}` must be at least 1, got {value}"
            raise ValueError(msg)
