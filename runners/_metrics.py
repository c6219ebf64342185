"""From what inferencers compute to scalars under names that never collide."""

import itertools
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from milepost.inferencers import Inferencer
from milepost.predictors import to_numpy


def unique_names(inferencers: Sequence[Inferencer]) -> tuple[str, ...]:
    """Return a name for each inferencer; a second `retrieval` becomes `retrieval_2`."""
    names: list[str] = []
    for name in (inferencer.name for inferencer in inferencers):
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        names.append(next(free for free in itertools.chain([name], numbered) if free not in names))
    return tuple(names)


def compute(inferencers: Sequence[Inferencer]) -> dict[str, float]:
    """Return the metrics of all inferencers.

    A name that several compute is prefixed, in each, by the inferencer's own name.
    """
    results = {
        name: _scalars(name, inferencer.compute())
        for name, inferencer in zip(unique_names(inferencers), inferencers, strict=True)
    }
    counts = Counter(key for scalars in results.values() for key in scalars)
    return {
        f"{name}/{key}" if counts[key] > 1 else key: value
        for name, scalars in results.items()
        for key, value in scalars.items()
    }


def _scalars(name: str, computed: Any) -> dict[str, float]:
    """Return what is a scalar; warn of each value that is not."""
    if computed is None:
        return {}
    if not isinstance(computed, Mapping):
        _warn(f"inferencer {name!r} computed a {type(computed).__name__}, not a mapping of scalars")
        return {}
    scalars = {}
    for key, value in computed.items():
        if _is_scalar(value):
            scalars[key] = float(value)
        else:
            kind = type(value).__name__
            _warn(f"inferencer {name!r} computed a {kind} for {key!r}; only scalars are logged")
    return scalars


def _is_scalar(value: Any) -> bool:
    if isinstance(value, Real):
        return True
    return getattr(value, "shape", None) == () and to_numpy(value).dtype.kind in "biuf"


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)
