"""A recipe's file, with the objects that it describes."""

import argparse
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, final

from jsonargparse import ArgumentParser, set_parsing_settings

from milepost import _config, errors
from milepost.runners import InferenceRunner

_MADE_OF_A_CLASS = ("model", "loss", "optimizer", "train")
_FRAMEWORKS = {"torch": "torch", "tensorflow": "tensorflow", "keras": "tensorflow"}
_MODULES = {"torch": "milepost._torch_recipe", "tensorflow": "milepost._tf_recipe"}


class Framework(Protocol):
    """What each framework's recipes come with."""

    Recipe: Callable[..., Any]

    def make_repeatable(self, seed: int, threads: int | None) -> None:
        """Seed whatever draws numbers, and set the framework's threads."""

    def train(self, recipe: Any) -> None:
        """Train the recipe's model with its runners and callbacks attached."""

    def load(self, model: Any, checkpoint: Path, device: str | None) -> Any:
        """Return the model on the device, with the weights of a checkpoint."""


@final
class RecipeFile:
    """A recipe as a typed configuration; the class of its model says which framework's it is.

    Args:
        path: a YAML file.
        overrides: arguments such as `--epochs=3` that come before what the file says.
        keys: the keys that are wanted; None: all.

    Attributes:
        framework: what its recipes come with.
        config: the configuration, every default filled in.

    Raises:
        UnknownNameError: a key does not exist.
        ImportError: a class path leads nowhere, or the framework is not installed.
        ValueError: a value is wrong.
    """

    def __init__(
        self, path: Path, overrides: Sequence[str], keys: Sequence[str] | None = None
    ) -> None:
        config = _config.read(path)
        _config.override(config, overrides)
        _config.spell_out(config)
        self.framework = _framework(config)
        known = tuple(inspect.signature(self.framework.Recipe).parameters)
        config |= {key: _spec(config[key], key) for key in _MADE_OF_A_CLASS if key in config}
        _config.check(config, known)
        _name_runners(config)
        skipped = set() if keys is None else set(known) - set(keys)
        set_parsing_settings(  # data may be of any class
            validate_subclass_spec_in_any=True, instantiate_subclass_spec_in_any=True
        )
        self._parser = ArgumentParser(exit_on_error=False)
        self._parser.add_class_arguments(self.framework.Recipe, skip=skipped)
        wanted = {key: value for key, value in config.items() if key not in skipped}
        try:
            self.config = self._parser.parse_object(wanted)
        except argparse.ArgumentError as error:
            msg = f"{path}: {_reason(error)}"
            raise ValueError(msg) from error

    def dump(self) -> str:
        """Return the configuration as YAML."""
        return str(self._parser.dump(self.config))

    def make(self) -> dict[str, Any]:
        """Make every object of the configuration, the same each time."""
        self.framework.make_repeatable(self.config.seed, self.config.get("threads"))
        try:
            return dict(vars(self._parser.instantiate(self.config)))
        except ValueError as error:
            raise ValueError(_reason(error)) from error


def _framework(config: Mapping[str, Any]) -> Framework:
    """Return that of the model's class, or of what the function that makes it says it returns."""
    path = config.get("model")
    path = path.get("class_path") if isinstance(path, Mapping) else path
    try:
        made = _config.find(path, "model") if path else None
        if not inspect.isclass(made):
            made = getattr(made, "__annotations__", {}).get("return")
        bases = inspect.getmro(made) if inspect.isclass(made) else ()
        packages = [base.__module__.partition(".")[0] for base in bases]
        name = next((_FRAMEWORKS[x] for x in packages if x in _FRAMEWORKS), "torch")
        return cast(Framework, importlib.import_module(_MODULES[name]))
    except ModuleNotFoundError as error:
        if error.name not in _FRAMEWORKS:
            raise
        raise errors.missing_extra(error.name, _FRAMEWORKS[error.name]) from error


def _reason(error: Exception) -> str:
    """Return what is wrong with a value, without the parser's own types."""
    reason = re.sub(r'Parser key "([^"]*)":', r"\1:", str(error))
    reason = re.sub(r"Type \S*Callable\[.*\] expects a function or a callable class: ", "", reason)
    reason = re.sub(r"Invalid subclass spec given as value for type \w+: ", "", reason)
    return re.sub(r"\.+ Got value: Namespace\(.*", "", reason, flags=re.DOTALL)


def _spec(value: Any, key: str) -> Any:
    """Return a class's dotted path as the mapping that it is short for."""
    if isinstance(value, str) and inspect.isclass(_config.find(value, key)):
        return {"class_path": value}
    return value


def _name_runners(config: Mapping[str, Any]) -> None:
    """Give each runner its key as a name."""
    runners = config.get("runners")
    for name, arguments in runners.items() if isinstance(runners, dict) else ():
        if isinstance(arguments, dict):
            known = _config.parameters(InferenceRunner)
            _config.check_keys(arguments, known, f"runners.{name}")
            if arguments.setdefault("name", name) != name:
                msg = f"runners.{name}: the key is the name, got `name` {arguments['name']!r} too"
                raise ValueError(msg)
