"""The checks of a runner's arguments, at the moment when it is made."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from milepost.errors import unknown_name
from milepost.inferencers import Bootstrap, Inferencer


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise unless the value is one of the choices."""
    if value not in choices:
        msg = f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}"
        raise ValueError(msg)


def check_least(name: str, value: int | None, least: int) -> None:
    """Raise if the value is given and no whole number, or too small."""
    if value is not None and (type(value) is not int or value < least):
        msg = f"`{name}` must be a whole number of at least {least}, got {value!r}"
        raise ValueError(msg)


def check_positive(name: str, value: float | None) -> None:
    """Raise if the value is given and not above 0."""
    if value is not None and not (isinstance(value, int | float) and value > 0):
        msg = f"`{name}` must be a number above 0, got {value!r}"
        raise ValueError(msg)


def check_loading(
    batch_size: int | None, num_workers: int, prefetch: int, timeout_s: float | None
) -> None:
    """Raise unless batches can be loaded so."""
    check_least("batch_size", batch_size, 1)
    check_least("num_workers", num_workers, 0)
    check_least("prefetch", prefetch, 0)
    check_positive("timeout_s", timeout_s)


def check_name(name: Any) -> None:
    """Raise unless the name can prefix metrics."""
    if not isinstance(name, str) or not name:
        msg = f"`name` must be a string that is not empty, got {name!r}"
        raise ValueError(msg)


def check_names(**arguments: Any) -> None:
    """Raise unless names, where they are given, are sequences of strings."""
    for argument, names in arguments.items():
        listed = isinstance(names, Sequence) and not isinstance(names, str)
        if names is not None and not (listed and all(isinstance(name, str) for name in names)):
            msg = f'`{argument}` must be names such as ("image", "label"), got {names!r}'
            raise ValueError(msg)


def check_inferencers(inferencers: Any) -> tuple[Inferencer, ...]:
    """Return the inferencers; raise if there are none, one twice, or something else among them."""
    given = tuple(inferencers) if isinstance(inferencers, Sequence) else (inferencers,)
    if not given or not all(isinstance(item, Inferencer) for item in given):
        msg = f"`inferencers` must be a list of at least one Inferencer, got {inferencers!r}"
        raise ValueError(msg)
    for item in given:
        if not isinstance(getattr(item, "name", None), str) or not _is_names(item, "fetches"):
            msg = f"`inferencers` must each have a `name` and a tuple of `fetches`, got {item!r}"
            raise ValueError(msg)
    if len(set(map(id, given))) < len(given):
        msg = f"`inferencers` must hold an object once, got {inferencers!r}"
        raise ValueError(msg)
    return given


def _is_names(owner: object, attribute: str) -> bool:
    names = getattr(owner, attribute, None)
    return isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)


def check_roles(roles: Sequence[str], inferencers: Sequence[Inferencer]) -> None:
    """Raise unless each role has an inferencer that looks at it, and each inferencer its first."""
    known = {role for inferencer in inferencers for role in inferencer.roles}
    for role in roles:
        if role not in known:
            raise unknown_name("role of the data", role, known)
    for inferencer in inferencers:
        if inferencer.roles[0] not in roles:
            msg = f"`data` must hold the role {inferencer.roles[0]!r}, got {', '.join(roles)}"
            raise ValueError(msg)


def warn_of_own_copies(data: Any, *, shared_ids: bool) -> None:
    """Warn where each query is to find itself: one object is the source of both roles."""
    if shared_ids or not isinstance(data, Mapping) or data.get("query") is None:
        return
    if data["query"] is data.get("gallery"):
        msg = (
            "the roles 'query' and 'gallery' have one source, so that each query finds its own "
            "copy; say `shared_ids=True` to leave it out, or give the source without roles"
        )
        warnings.warn(msg, UserWarning, stacklevel=3)


def check_row_roles(roles: Any, ids: Any, inferencers: Sequence[Inferencer]) -> None:
    """Raise unless each row has a role at which an inferencer looks; name the first that has not.

    Args:
        roles: strings, shape (N,).
        ids: shape (N,).
        inferencers: all that are to look at the rows.
    """
    known = {role for inferencer in inferencers for role in inferencer.roles}
    for role, row in zip(roles.tolist(), ids.tolist(), strict=True):
        if role not in known:
            kind = f"role (of the row with id {row!r})"
            raise unknown_name(kind, role, known)


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


def check_confidence(confidence: Any) -> Bootstrap | None:
    """Return how to find confidence intervals, if any; raise if it says nothing of it."""
    if confidence is None or isinstance(confidence, Bootstrap):
        return confidence
    if isinstance(confidence, float) and 0 < confidence < 1:
        return Bootstrap(level=confidence)
    msg = (
        "`confidence` must be None, a level above 0 and below 1 such as 0.95, or a Bootstrap, "
        f"got {confidence!r}"
    )
    raise ValueError(msg)
