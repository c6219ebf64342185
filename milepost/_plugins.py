"""Inferencers, monitors and trainers of other packages, by the name that they are registered under.

A package registers one by an entry point of a group `milepost.inferencers`, `milepost.monitors` or
`milepost.trainers`. None is imported before it is used.
"""

import warnings
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from milepost.errors import unknown_name

GROUPS = ("inferencers", "monitors", "trainers")


def registered(group: str) -> dict[str, EntryPoint]:
    """Return what other packages register in a group; of two of one name the first."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"milepost.{group}"):
        if found.setdefault(point.name, point) != point:
            first = described(found[point.name])
            _warn(f"the {group} {point.name!r} of {described(point)} gives way to that of {first}")
    return dict(sorted(found.items()))


def described(point: EntryPoint) -> str:
    """Return package and version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def load(point: EntryPoint) -> Any:
    """Return what an entry point leads to.

    Raises:
        ImportError: it cannot be imported.
    """
    try:
        return point.load()
    except Exception as error:  # whatever the package's own code raises
        reason = f"{type(error).__name__}: {error}"
        msg = f"the plug-in {point.name!r} of {described(point)} is broken ({reason})"
        raise ImportError(msg) from error


def resolve(group: str, name: str, own: Iterable[str]) -> Any:
    """Return the plug-in of a name: what a module of a group does for names it does not have.

    Args:
        group: one of `GROUPS`.
        name: of the plug-in.
        own: the names that the module has.

    Raises:
        AttributeError: there is none; the message gives the nearest name.
        ImportError: it is broken.
    """
    if name.startswith("_"):  # Python's own probes
        raise AttributeError(name)
    points = registered(group)
    if name not in points:
        public = [known for known in own if not known.startswith("_")]
        error = unknown_name(group.removesuffix("s"), name, [*public, *points])
        raise AttributeError(str(error), name=name)
    return load(points[name])


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)
