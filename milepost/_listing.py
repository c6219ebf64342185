"""What there is by name: inferencers, monitors and trainers, plug-ins included."""

import inspect

import milepost
from milepost._plugins import GROUPS, described, load, registered
from milepost.callbacks import trainers
from milepost.callbacks.monitors import Monitor
from milepost.inferencers import Inferencer


def listing() -> tuple[str, list[str]]:
    """Return the names with package and version, and why some plug-ins are not among them."""
    lines, broken = [], []
    for group in GROUPS:
        sources = dict.fromkeys(_own(group), f"milepost {milepost.__version__}")
        for name, point in registered(group).items():
            try:
                load(point)
                sources.setdefault(name, described(point))
            except ImportError as error:
                broken.append(str(error))
        width = max(map(len, sources))
        lines += [group, *(f"  {name:<{width}}  {sources[name]}" for name in sorted(sources)), ""]
    return "\n".join(lines), broken


def _own(group: str) -> list[str]:
    """Return the names of Milepost's own."""
    if group == "trainers":
        return trainers.__all__
    base: type = {"inferencers": Inferencer, "monitors": Monitor}[group]
    named = ((name, getattr(milepost, name)) for name in milepost.__all__)
    classes = [(name, found) for name, found in named if inspect.isclass(found)]
    return [name for name, x in classes if issubclass(x, base) and not inspect.isabstract(x)]
