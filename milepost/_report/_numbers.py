"""Numbers as people read them."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime

NOTHING = "n/a"


def number(value: float) -> str:
    """Return a value with three digits that count, more where it is nearly 1.

    Example:
        >>> number(0.88281), number(0.0463602), number(0.99967), number(1.0), number(320.96)
        ('0.883', '0.0464', '0.99967', '1.000', '321')
        >>> number(3.1142e-06), number(45678.2), number(float("nan"))
        ('3.11e-06', '45,678', 'n/a')
    """
    if not math.isfinite(value):
        return NOTHING
    size = float(f"{abs(value):.3g}")
    if 0 < size < 1e-4:
        return f"{value:.2e}"
    if size == 1 and abs(value) < 1:
        decimals = min(1 - math.floor(math.log10(1 - abs(value))), 7)
    else:
        decimals = max(2 - math.floor(math.log10(size)), 0) if size else 3
    return f"{value:,.{3 if size == 1 == abs(value) else min(decimals, 6)}f}"


def numbers(values: Iterable[float]) -> list[str]:
    """Return values that stand together: as counts if all are."""
    values = list(values)
    finite = [value for value in values if math.isfinite(value)]
    are_whole = all(value == round(value) for value in finite)
    are_counts = are_whole and (max(finite, default=0) > 1 or not any(finite))
    return [count(value) if are_counts else number(value) for value in values]


def count(value: float) -> str:
    """Return a whole number, in groups of three digits."""
    return f"{value:,.0f}" if math.isfinite(value) else NOTHING


def percent(share: float) -> str:
    """Return a share in hundredths.

    Example:
        >>> percent(0.1234), percent(0.02), percent(0.0002), percent(0.0)
        ('12 %', '2.0 %', '<0.1 %', '0 %')
    """
    if not math.isfinite(share):
        return NOTHING
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{share * 100:.{1 if 0 < share < 0.0995 else 0}f} %"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it.

    Example:
        >>> duration(0.0042), duration(16.7), duration(200), duration(9000)
        ('4.2 ms', '16.7 s', '3 min 20 s', '2 h 30 min')
    """
    if not math.isfinite(seconds):
        return NOTHING
    if seconds < 0.9995:
        return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: float) -> str:
    """Return a number of bytes.

    Example:
        >>> size(636_805_120), size(135e9)
        ('607 MiB', '126 GiB')
    """
    if not math.isfinite(count):
        return NOTHING
    unit, scale = ("GiB", 2**30) if count >= 2**30 else ("MiB", 2**20)
    value = count / scale
    return f"{value:.{1 if value < 10 else 0}f} {unit}"


def moment(time: float) -> str:
    """Return a time of the Unix epoch, to the minute.

    Example:
        >>> moment(0.0)
        '1970-01-01 00:00 UTC'
    """
    try:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return NOTHING
