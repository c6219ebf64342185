"""Ticks and labels of axes."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

_NORMAL = NormalDist()
_RATES = (0.01, 1e-3, 0.5, 0.1, 1e-4, 1e-5, 1e-6, 0.9, 0.99, 0.05, 0.2, 0.8)
_APART = 13  # pixels between the base lines of labels


def number_ticks(axis: Axis, most: int, *, whole: bool = False) -> None:
    """Label an axis with at most so many round numbers, whole ones if they are to be."""
    axis.set_major_locator(MaxNLocator(most, steps=(1, 2, 2.5, 5, 10), integer=whole))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def short(value: float) -> str:
    """Return a number for a tick.

    Example:
        >>> short(0.25), short(12_000.0), short(2.5e6)
        ('0.25', '12k', '2.5M')
    """
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= max(scale, 1e4):
            return f"{value / scale:g}{unit}"
    return f"{value:g}".replace("-", "−")  # noqa: RUF001 - a minus


def percent_tick(share: float) -> str:
    """Return a rate for a tick.

    Example:
        >>> percent_tick(0.001), percent_tick(0.5)
        ('0.1%', '50%')
    """
    return f"{share * 100:.12g}%"


def log_ticks(axis: Axis, least: float) -> None:
    """Label an axis of shares, from the least to 1, with powers of ten."""
    powers = 10.0 ** np.arange(math.floor(math.log10(least)), 1)
    axis.set_major_locator(FixedLocator(powers[:: 1 + len(powers) // 8].tolist()))
    axis.set_major_formatter(FuncFormatter(lambda value, _: percent_tick(value)))
    axis.set_minor_locator(NullLocator())


def deviates(rates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the normal deviates of rates; NaN at 0 and 1, which lie infinitely far out."""
    inside = (rates > 0) & (rates < 1)
    return np.array(
        [_NORMAL.inv_cdf(x) if ok else math.nan for x, ok in zip(rates, inside, strict=True)]
    )


def deviate_ticks(axis: Axis, low: float, high: float) -> None:
    """Label an axis of normal deviates with the rates that they stand for."""
    apart = (high - low) / 8
    texts: dict[float, str] = {}
    for rate in _RATES:  # the first are kept where there is no room for all
        place = _NORMAL.inv_cdf(rate)
        if low <= place <= high and all(abs(place - other) > apart for other in texts):
            texts[place] = percent_tick(rate)
    axis.set_major_locator(FixedLocator(sorted(texts)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: texts.get(value, "")))


def label_ends(
    axes: Axes, labels: Sequence[str], values: Sequence[float], colours: Sequence[str]
) -> None:
    """Write plain labels beside the axes, each at the height of its line's last value or near."""
    height = axes.get_window_extent().height
    to_axes = axes.transData + axes.transAxes.inverted()
    order = sorted((at for at, x in enumerate(values) if math.isfinite(x)), key=values.__getitem__)
    right = axes.get_xlim()[1]
    places = [to_axes.transform((right, values[at]))[1] * height for at in order]
    for at, place in zip(order, _spread(places), strict=True):
        axes.text(
            1.02,
            place / height,
            labels[at],
            color=colours[at],
            transform=axes.transAxes,
            verticalalignment="center",
        )


def _spread(places: Sequence[float]) -> list[float]:
    """Return ascending places moved apart as little as makes room, around where they were."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + _APART) if moved else place)
    shift = sum(now - before for now, before in zip(moved, places, strict=True))
    return [place - shift / len(moved) for place in moved]
