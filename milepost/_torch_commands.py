"""What the commands do, for a recipe whose model is a PyTorch module."""

import argparse
import inspect
import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
from torch import nn

from milepost import _config
from milepost._torch_recipe import Recipe, choose_device, make_repeatable, train
from milepost.callbacks import Loop
from milepost.predictors import OfflinePredictor
from milepost.runners import InferenceRunner

_EXAMINED = ("model", "runners", "seed", "device", "threads")
_MADE_OF_A_CLASS = ("model", "loss", "optimizer", "train")


def prepare_print(path: Path, overrides: Sequence[str]) -> Callable[[], int]:
    """Return what prints the recipe with every default filled in."""
    parser, config = _parse(path, overrides)
    text = parser.dump(config)

    def show() -> int:
        print(text, end="")
        return 0

    return show


def prepare_run(path: Path, overrides: Sequence[str]) -> Callable[[], int]:
    """Return what trains the recipe's model with its runners attached."""
    parser, config = _parse(path, overrides)
    rundir = Path(config.rundir)
    _open_rundir(rundir, parser.dump(config))
    recipe = Recipe(**_make(parser, config))

    def run() -> int:
        train(recipe)
        print(f"results in {rundir}: {', '.join(sorted(path.name for path in rundir.iterdir()))}")
        return 0

    return run


def _open_rundir(rundir: Path, config: str) -> None:
    if (rundir / "metrics.jsonl").exists():
        msg = f"{rundir} holds a run already; remove it, or choose another folder with --rundir"
        raise FileExistsError(msg)
    try:
        rundir.mkdir(parents=True, exist_ok=True)
        (rundir / "config.yaml").write_text(config)
    except OSError as error:
        msg = f"`rundir` must be a folder that can be written, got {str(rundir)!r} ({error})"
        raise OSError(msg) from error


def prepare_eval(
    path: Path, overrides: Sequence[str], *, checkpoint: Path, as_json: bool
) -> Callable[[], int]:
    """Return what examines a checkpoint with each of the recipe's runners, once."""
    parser, config = _parse(path, overrides, keys=_EXAMINED)
    made = _make(parser, config)
    model: nn.Module = made["model"]
    model.load_state_dict(_read_weights(model, checkpoint))
    model.to(choose_device(made["device"]))
    return partial(_examine, model, made["runners"].values(), as_json=as_json)


def _read_weights(model: nn.Module, checkpoint: Path) -> Mapping[str, Any]:
    try:
        return OfflinePredictor(model, checkpoint, strict=True).weights()
    except (ImportError, OSError, ValueError):
        raise
    except Exception as error:  # each format has errors of its own
        msg = f"{checkpoint} cannot be read: it is no file of torch.save's, and no .safetensors"
        raise ValueError(msg) from error


def _examine(model: nn.Module, runners: Collection[InferenceRunner], *, as_json: bool) -> int:
    with Loop(model, monitors=[]) as loop:
        results = [runner.run(loop) for runner in runners]
    metrics = {name: value for result in results if result for name, value in result.items()}
    if as_json:
        print(json.dumps({k: v if math.isfinite(v) else None for k, v in metrics.items()}))
    else:
        width = max(map(len, metrics), default=0)
        for name, value in metrics.items():
            print(f"{name:<{width}}  {value:.6g}")
    return 0 if all(results) else 1


def _parse(
    path: Path, overrides: Sequence[str], keys: Sequence[str] | None = None
) -> tuple[ArgumentParser, Namespace]:
    """Return the parser and the typed configuration of some of a recipe's keys."""
    config = _config.read(path)
    _config.override(config, overrides)
    known = tuple(inspect.signature(Recipe).parameters)
    config |= {key: _spec(config[key], key) for key in _MADE_OF_A_CLASS if key in config}
    _config.check(config, known)
    _name_runners(config)
    skipped = set() if keys is None else set(known) - set(keys)
    set_parsing_settings(  # data may be of any class
        validate_subclass_spec_in_any=True, instantiate_subclass_spec_in_any=True
    )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe, skip=skipped)
    try:
        return parser, parser.parse_object(
            {key: value for key, value in config.items() if key not in skipped}
        )
    except argparse.ArgumentError as error:
        msg = f"{path}: {_reason(error)}"
        raise ValueError(msg) from error


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


def _make(parser: ArgumentParser, config: Namespace) -> dict[str, Any]:
    """Make every object of a configuration, the same each time."""
    make_repeatable(config.seed, config.threads)
    try:
        return dict(vars(parser.instantiate(config)))
    except ValueError as error:
        raise ValueError(_reason(error)) from error
