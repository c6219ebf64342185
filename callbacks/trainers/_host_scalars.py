"""What a framework logs by itself, as scalars of ours."""

from collections.abc import Mapping
from numbers import Real
from typing import Any


def as_scalars(logs: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Return the numbers of a framework's log, under the names by which monitors are given them.

    Args:
        logs: by the framework's names.
        prefix: of what it measured on data that it does not train on, such as `"val_"`.

    Example:
        >>> as_scalars({"loss": 0.5, "val_loss": 1, "note": "text"}, "val_")
        {'train/loss': 0.5, 'val/loss': 1.0}
    """
    group = prefix.removesuffix("_")
    return {
        f"{group}/{name.removeprefix(prefix)}" if name.startswith(prefix) else f"train/{name}": x
        for name, x in ((name, float(x)) for name, x in logs.items() if isinstance(x, Real))
    }
