"""Milepost in a training of Lightning without a line of code: the recipe that a variable names.

Lightning calls `callbacks` for every `Trainer` that is made, by way of the entry points
`lightning.pytorch.callbacks_factory` and `pytorch_lightning.callbacks_factory`.
"""

import os
from pathlib import Path
from typing import Any

VARIABLE = "MILEPOST_RECIPE"
_KEYS = ("runners", "callbacks", "rundir", "seed")


def callbacks() -> list[Any]:
    """Return a callback with what the recipe attaches; none where no recipe is named.

    Raises:
        OSError: the file cannot be read.
        UnknownNameError: the recipe has a key that does not exist.
        ValueError: a value is wrong, or the recipe attaches nothing.
    """
    name = os.environ.get(VARIABLE)
    return [_attached(Path(name))] if name else []


def _attached(path: Path) -> Any:
    from milepost import _config
    from milepost._recipe_file import RecipeFile
    from milepost.callbacks import trainers
    from milepost.predictors._rng import preserved_rngs

    try:
        with preserved_rngs():  # the training draws its numbers as it does without
            made = RecipeFile(path, (), keys=_KEYS).make()
    except Exception as error:
        error.add_note(f"the recipe is named by the variable {VARIABLE}")
        raise
    members = [*made["runners"].values(), *made["callbacks"]]
    if not members:
        msg = f"{VARIABLE}: {str(path)!r} has neither `runners` nor `callbacks`"
        raise ValueError(msg)
    rundir = made["rundir"] if "rundir" in _config.read(path) else None
    attached = trainers.lightning(*members, rundir=rundir)
    attached.state_key = "milepost.recipe"  # the script may attach callbacks of its own
    return attached
