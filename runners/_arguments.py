"""The checks of a runner's arguments, at the moment when it is made."""

from collections.abc import Sequence
from typing import Any

from milepost.inferencers import Inferencer


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise unless the value is one of the choices."""
    if value not in choices:
        msg = f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}"
        raise ValueError(msg)


def check_least(name: str, value: int | None, least: int) -> None:
    """Raise if the value is given and too small."""
    if value is not None and value < least:
        msg = f"`{name}` must be at least {least}, got {value}"
        raise ValueError(msg)


def check_positive(name: str, value: float | None) -> None:
    """Raise if the value is given and not above 0."""
    if value is not None and not value > 0:
        msg = f"`{name}` must be above 0, got {value}"
        raise ValueError(msg)


def check_inferencers(inferencers: Any) -> tuple[Inferencer, ...]:
    """Return the inferencers; raise if there are none, or something else is among them."""
    given = tuple(inferencers) if isinstance(inferencers, Sequence) else (inferencers,)
    wrong = [item for item in given if not isinstance(item, Inferencer)]
    if wrong or not given:
        msg = f"`inferencers` must be a list of at least one Inferencer, got {inferencers!r}"
        raise ValueError(msg)
    return given


def check_placement(placement: Any) -> Any:
    """Return the placement; raise if it is none."""
    is_devices = isinstance(placement, Sequence) and not isinstance(placement, str) and placement
    if placement in (None, "local") or is_devices:
        return placement
    msg = (
        '`placement` must be None, "local" or a sequence of devices such as ["cuda:0", "cuda:1"], '
        f"got {placement!r}"
    )
    raise ValueError(msg)
