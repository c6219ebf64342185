"""What is said of a checkpoint that does not fit its model."""

import warnings
from collections.abc import Collection, Mapping
from typing import Any


def refuse_shapes(shapes: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise if a weight has another shape than in the model.

    Args:
        shapes: those in the checkpoint, by name.
        own: those in the model.

    Raises:
        ValueError: shapes differ; the message lists them all.
    """
    wrong = [
        f"{name!r}: {tuple(shape)} in the checkpoint, {tuple(own[name])} in the model"
        for name, shape in shapes.items()
        if name in own and tuple(shape) != tuple(own[name])
    ]
    if wrong:
        msg = f"`checkpoint` has other shapes than the model: {'; '.join(wrong)}"
        raise ValueError(msg)


def report_names(
    missing: Collection[str], unexpected: Collection[str], *, strict: bool, depth: int
) -> None:
    """Warn of the names that are on one side only.

    Args:
        missing: the names that are in the model only.
        unexpected: those that are in the checkpoint only.
        strict: raise instead.
        depth: how many calls up the user's own is.

    Raises:
        ValueError: `strict` is on, and there are such names.
    """
    if not missing and not unexpected:
        return
    msg = (
        "`checkpoint` has other names than the model; "
        f"only in the model: {', '.join(map(repr, missing)) or 'none'}; "
        f"only in the checkpoint: {', '.join(map(repr, unexpected)) or 'none'}"
    )
    if strict:
        raise ValueError(msg)
    warnings.warn(msg, stacklevel=depth + 1)
