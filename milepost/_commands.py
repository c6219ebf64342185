"""What the commands do, for a recipe of either framework."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from milepost._compare import compare_all
from milepost._comparison_text import comparison_text
from milepost._listing import listing
from milepost._recipe_file import RecipeFile
from milepost._report import follow, report
from milepost.callbacks import Loop
from milepost.callbacks.monitors import Monitors, file_monitors
from milepost.inferencers import Bootstrap, Over
from milepost.runners import InferenceRunner

_EXAMINED = ("model", "runners", "seed", "device", "threads")


def prepare_print(path: Path, overrides: Sequence[str]) -> Callable[[], int]:
    """Return what prints the recipe with every default filled in."""
    text = RecipeFile(path, overrides).dump()

    def show() -> int:
        print(text, end="")
        return 0

    return show


def prepare_run(path: Path, overrides: Sequence[str]) -> Callable[[], int]:
    """Return what trains the recipe's model with its runners attached."""
    file = RecipeFile(path, overrides)
    rundir = Path(file.config.rundir)
    _open_rundir(rundir, file.dump())
    recipe = file.framework.Recipe(**file.make())
    Monitors(recipe.monitors).describe(yaml.safe_load(file.dump()))
    for runner in recipe.runners.values():
        runner.rehearse(recipe.model)

    def run() -> int:
        file.framework.train(recipe)
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
    path: Path,
    overrides: Sequence[str],
    *,
    checkpoint: Path,
    rundir: Path | None,
    as_json: bool,
) -> Callable[[], int]:
    """Return what examines a checkpoint with each of the recipe's runners, once."""
    file = RecipeFile(path, overrides, keys=_EXAMINED)
    made = file.make()
    model = file.framework.load(made["model"], checkpoint, made.get("device"))
    for runner in made["runners"].values():
        runner.rehearse(model)
    if rundir is not None:
        _open_rundir(rundir, file.dump())
    return partial(_examine, model, made["runners"].values(), rundir=rundir, as_json=as_json)


def _examine(
    model: Any, runners: Collection[InferenceRunner], *, rundir: Path | None, as_json: bool
) -> int:
    monitors = [] if rundir is None else file_monitors(rundir)
    with Loop(model, rundir=rundir, monitors=monitors) as loop:
        results = [runner.run(loop) for runner in runners]
    metrics = {name: value for result in results if result for name, value in result.items()}
    if as_json:
        print(json.dumps(_finite(metrics)))
    else:
        width = max(map(len, metrics), default=0)
        for name, value in metrics.items():
            print(f"{name:<{width}}  {value:.6g}")
    return 0 if all(results) else 1


def prepare_compare(
    first: Path,
    second: Path,
    *,
    runner: str | None,
    metrics: Sequence[str],
    step: int | None,
    over: Over | None,
    as_json: bool,
) -> Callable[[], int]:
    """Return what prints how the metrics of two runs differ, query by query."""
    bootstrap = None if over is None else Bootstrap(over=over)
    changes, rest = compare_all(
        first, second, runner=runner, metrics=metrics, step=step, bootstrap=bootstrap
    )

    def show() -> int:
        if as_json:
            print(json.dumps([_finite(dataclasses.asdict(change)) for change in changes]))
        else:
            print(comparison_text(changes, str(first), str(second), rest), end="")
        return 0

    return show


def prepare_report(rundir: Path, output: Path | None, *, live: bool) -> Callable[[], int]:
    """Return what tells where the page is that shows a run, and goes on with it if it is live."""
    path = output or rundir / "report.html"
    try:
        report(rundir, path)
    except FileNotFoundError:
        if not (live and rundir.is_dir()):  # a run that has just begun has logged nothing
            raise

    def show() -> int:
        print(path, flush=True)
        if live:
            follow(rundir, path)
        return 0

    return show


def prepare_list() -> Callable[[], int]:
    """Return what prints inferencers, monitors and trainers, with package and version."""
    text, broken = listing()

    def show() -> int:
        for reason in broken:
            print(f"milepost list: warning: {reason}", file=sys.stderr)
        print(text, end="")
        return 0

    return show


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values for JSON, which has no NaN."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
