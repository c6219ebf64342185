"""Depths: how many of the nearest a metric looks at."""

from collections.abc import Sequence


def as_depths(k: int | Sequence[int]) -> tuple[int, ...]:
    """Return depths that are given as one or several.

    Raises:
        ValueError: there is none, or one is no whole number of at least 1.
    """
    depths = (k,) if isinstance(k, int) else tuple(k)
    if not depths or any(type(each) is not int or each < 1 for each in depths):
        msg = f"`k` must be whole numbers of at least 1, got {k!r}"
        raise ValueError(msg)
    return depths
