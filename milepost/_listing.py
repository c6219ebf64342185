"""What there is by name: inferencers, monitors and trainers, plug-ins included."""

import inspect
from importlib.util import find_spec

import milepost
from milepost._plugins import GROUPS, described, load, registered
from milepost.callbacks import trainers
from milepost.callbacks.monitors import Monitor
from milepost.inferencers import Inferencer

_EXTRAS = {
    "Clustering": "clustering",
    "KerasMetric": "tensorflow",
    "MLflow": "mlflow",
    "TensorBoard": "tensorboard",
    "TorchMetric": "torchmetrics",
    "WandB": "wandb",
}
_MODULES = {"clustering": ("sklearn",), "lightning": ("lightning", "pytorch_lightning")}


def listing() -> tuple[str, list[str]]:
    """Return the names with package and version, and why some plug-ins are not among them."""
    lines, broken = [], []
    for group in GROUPS:
        sources = {name: _source(extra) for name, extra in _own(group).items()}
        for name, point in registered(group).items():
            try:
                load(point)
                sources.setdefault(name, described(point))
            except ImportError as error:
                broken.append(str(error))
        width = max(map(len, sources))
        lines += [group, *(f"  {name:<{width}}  {sources[name]}" for name in sorted(sources)), ""]
    return "\n".join(lines), broken


def _own(group: str) -> dict[str, str | None]:
    """Return the names of Milepost's own, each with the extra that it needs."""
    if group == "trainers":
        return {name: extra for name, (_, _, extra) in trainers._TRAINERS.items()}
    base: type = {"inferencers": Inferencer, "monitors": Monitor}[group]
    named = ((name, getattr(milepost, name)) for name in milepost.__all__)
    classes = [(name, found) for name, found in named if inspect.isclass(found)]
    names = [name for name, x in classes if issubclass(x, base) and not inspect.isabstract(x)]
    return {name: _EXTRAS.get(name) for name in names}


def _source(extra: str | None) -> str:
    """Return Milepost's version, and what brings an extra that is not there."""
    modules = () if extra is None else _MODULES.get(extra, (extra,))
    specs = [spec for module in modules if (spec := find_spec(module)) is not None]
    is_there = not modules or any(spec.origin for spec in specs)  # a mere folder has none
    missing = "" if is_there else f', needs pip install "milepost[{extra}]"'
    return f"milepost {milepost.__version__}{missing}"
