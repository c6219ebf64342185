"""What a run runs on."""

import json
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, final

import psutil

from milepost.callbacks._record import Record
from milepost.callbacks.monitors._monitor import Monitor

_PACKAGES = (
    *("torch", "torchvision", "tensorflow", "keras", "jax", "numpy", "faiss", "pyarrow", "sklearn"),
    *("lightning", "pytorch_lightning", "transformers", "accelerate", "ignite"),
    *("sentence_transformers", "timm", "torchmetrics"),
)


@final
class EnvironmentFile(Monitor):
    """Writes what a run runs on to a JSON file, when it begins or goes on.

    Args:
        path: the file; its folder is made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def open(self) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f"{self.path.name}.part")
        part.write_text(json.dumps(environment(), indent=2) + "\n", encoding="utf-8")
        part.replace(self.path)

    def write(self, record: Record) -> None:
        """Do nothing: a record says nothing of it."""

    def __repr__(self) -> str:
        return f"EnvironmentFile({str(self.path)!r})"


def environment() -> dict[str, Any]:
    """Return the machine, Python and the packages that are loaded, as plain values.

    Nothing that names a person, a machine or a folder is among them.
    """
    try:
        milepost = version("milepost")
    except PackageNotFoundError:  # used from its source
        milepost = "unknown"
    loaded = ((name, sys.modules.get(name)) for name in _PACKAGES)
    versions = {name: getattr(module, "__version__", None) for name, module in loaded if module}
    return {
        "started": time.time(),
        "milepost": milepost,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "accelerators": _accelerators(),
        "packages": {name: str(value) for name, value in versions.items() if value is not None},
    }


def _processor() -> str:
    """Return the model of the processor; the architecture where the system does not tell it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _accelerators() -> list[str]:
    """Return the GPUs of this process, of the frameworks that are loaded."""
    names = []
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():  # else asking would claim memory of a GPU
        names += [cuda.get_device_name(number) for number in range(cuda.device_count())]
    config = getattr(sys.modules.get("tensorflow"), "config", None)
    if config is not None:
        details = map(config.experimental.get_device_details, config.list_physical_devices("GPU"))
        names += [str(each.get("device_name", "GPU")) for each in details]
    return names
