"""What `trace_check` found."""

from collections.abc import Mapping
from typing import Any

from milepost import errors

_NAMED = 5  # names that a message lists


def refuse_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raise if what identifies the values of parameters and buffers, by name, has changed.

    Raises:
        TraceError: it has; the message names what changed.
    """
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if changed:
        msg = (
            f"the evaluation changed {', '.join(map(repr, changed[:_NAMED]))}"
            f"{f' and {len(changed) - _NAMED} more' if len(changed) > _NAMED else ''}; "
            "buffers were restored, parameters that were changed in place were not"
        )
        raise errors.TraceError(msg)
