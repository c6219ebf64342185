"""Adapters to training frameworks; `milepost.Loop` serves loops of your own.

Each is imported when it is first used, and so is its framework.
"""

import importlib
from typing import TYPE_CHECKING, Any

from milepost._plugins import registered, resolve
from milepost.errors import missing_extra

if TYPE_CHECKING:
    # the names that users call
    from milepost.callbacks.trainers._keras import KerasTrainer as keras  # noqa: N813
    from milepost.callbacks.trainers._lightning import LightningTrainer as lightning  # noqa: N813
    from milepost.callbacks.trainers._transformers import TransformersTrainer as transformers  # noqa: N813

_TRAINERS = {
    "keras": ("milepost.callbacks.trainers._keras", "KerasTrainer", "tensorflow"),
    "lightning": ("milepost.callbacks.trainers._lightning", "LightningTrainer", "lightning"),
    "transformers": (
        "milepost.callbacks.trainers._transformers",
        "TransformersTrainer",
        "transformers",
    ),
}

__all__ = ["keras", "lightning", "transformers"]


def _resolve(name: str) -> Any:
    if name not in _TRAINERS:
        return resolve("trainers", name, _TRAINERS)
    module, trainer, extra = _TRAINERS[name]
    try:
        return getattr(importlib.import_module(module), trainer)
    except ModuleNotFoundError as error:
        raise missing_extra(error.name or name, extra) from error


if not TYPE_CHECKING:  # a type checker would take any name at all to exist

    def __getattr__(name: str) -> Any:
        globals()[name] = trainer = _resolve(name)
        return trainer


def __dir__() -> list[str]:
    return sorted({*__all__, *registered("trainers")})
