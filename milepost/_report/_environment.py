"""What the run ran on, and from which recipe."""

import json
from collections.abc import Callable
from typing import Any

from milepost._report._numbers import moment, size
from milepost._report._page import fill
from milepost._report._run_files import RunFiles
from milepost._report._section import Section


def environment(run: RunFiles) -> Section | None:
    """Return machine, versions and recipe, as far as the folder holds them."""
    told, recipe = read_environment(run), run.text("config.yaml")
    if not (told or recipe):
        return None
    packages = told.get("packages")
    packages = packages if isinstance(packages, dict) else {}
    html = fill(
        "environment.html",
        facts=_facts(told),
        packages=[[str(name), str(version)] for name, version in packages.items()],
        recipe=recipe,
    )
    return Section("environment", "Environment", html)


def read_environment(run: RunFiles) -> dict[str, Any]:
    """Return what `environment.json` holds; an empty mapping where it cannot be read."""
    text = run.text("environment.json")
    try:
        told = json.loads(text) if text else {}
    except ValueError:
        run.note("environment.json: no JSON")
        told = {}
    return told if isinstance(told, dict) else {}


def _facts(told: dict[str, Any]) -> list[tuple[str, str]]:
    shown: dict[str, Callable[[Any], str]] = {
        "started": lambda value: moment(float(value)),
        "milepost": str,
        "python": str,
        "system": str,
        "processor": str,
        "cores": str,
        "memory_bytes": lambda value: size(float(value)),
        "accelerators": lambda value: ", ".join(map(str, value)) or "none in use",
    }
    facts = []
    for name, text in shown.items():
        try:
            facts.append((name.removesuffix("_bytes"), text(told[name])))
        except (KeyError, TypeError, ValueError):
            continue  # of another version
    return facts
