"""Calls that must all run, whatever some of them raise."""

import traceback
from collections.abc import Callable, Iterable


def run_all(
    calls: Iterable[Callable[[], object]], error: BaseException | None = None
) -> BaseException | None:
    """Run every call; return the first error, with the later ones as notes on it.

    Args:
        calls: what to run, in order.
        error: an error from before, which counts as the first.
    """
    for call in calls:
        try:
            call()
        except BaseException as other:
            if error is None:
                error = other
            elif other is not error:
                text = "".join(traceback.format_exception(other, chain=False))
                error.add_note(f"In the clean-up:\n{text}")
    return error
