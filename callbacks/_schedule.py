"""When to trigger: pure functions of two moments.

A schedule is asked with the moment now and the moment before, and answers whether a boundary lies
between them; so it does not matter if steps are skipped.
"""

import abc
import dataclasses
import difflib
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias, final

from milepost.callbacks._moment import Moment, Phase

Scheduled: TypeAlias = "Schedule | str | Callable[[Moment], bool]"
"""Whatever `schedule` accepts."""


class Schedule(abc.ABC):
    """When to trigger; `a | b` when either is due, `a & b` when both are.

    Attributes:
        agrees: whether every rank comes to the same answer; if not, the chief decides for all.
    """

    agrees: bool = True

    @abc.abstractmethod
    def due(self, before: Moment | None, now: Moment) -> bool:
        """Return whether to trigger now.

        Args:
            before: the moment before; None if there was none.
            now: this moment.

        Raises:
            ValueError: the clock that it needs is not given.
        """

    def __or__(self, other: Scheduled) -> "Schedule":
        return _Joined((self, schedule(other)), "|")

    def __ror__(self, other: Scheduled) -> "Schedule":
        return _Joined((schedule(other), self), "|")

    def __and__(self, other: Scheduled) -> "Schedule":
        return _Joined((self, schedule(other)), "&")

    def __rand__(self, other: Scheduled) -> "Schedule":
        return _Joined((schedule(other), self), "&")


_CLOCKS = {"steps": "step", "epochs": "epoch", "minutes": "elapsed_s", "seconds": "elapsed_s"}
_SECONDS = {"minutes": 60.0, "seconds": 1.0}


@final
@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Every(Schedule):
    """Due when a multiple of a period is crossed.

    With no moment before it, a moment is due if it is such a multiple itself. The time that the
    callback itself takes crosses no boundary, so one slower than its period still leaves room for
    the training.

    Args:
        steps: the period in steps; give exactly one of the four.
        epochs: in epochs.
        minutes: in minutes of training.
        seconds: in seconds of training.

    Example:
        >>> Every(steps=3).due(Moment(step=2), Moment(step=4))
        True
        >>> Every(steps=3) | "20 min"
        Every(steps=3) | Every(minutes=20)
    """

    steps: int | None = None
    epochs: int | None = None
    minutes: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = {unit: value for unit, value in vars(self).items() if value is not None}
        if len(given) != 1:
            names = ", ".join(given) or "none"
            msg = f"`Every` takes one of steps, epochs, minutes and seconds, got {names}"
            raise ValueError(msg)
        unit, value = given.popitem()
        if unit in _SECONDS:
            if not 0 < value < float("inf"):
                msg = f"`{unit}` must be above 0, got {value!r}"
                raise ValueError(msg)
        elif not isinstance(value, int) or value < 1:
            msg = f"`{unit}` must be a whole number above 0, got {value!r}"
            raise ValueError(msg)

    @functools.cached_property
    def _period(self) -> tuple[str, float]:
        """The name of the clock, and the period on it."""
        unit = next(unit for unit in _CLOCKS if getattr(self, unit) is not None)
        return _CLOCKS[unit], getattr(self, unit) * _SECONDS.get(unit, 1)

    @property
    def agrees(self) -> bool:  # type: ignore[override]
        """Ranks count the same steps, but their clocks differ."""
        return self._period[0] != "elapsed_s"

    def due(self, before: Moment | None, now: Moment) -> bool:
        """Return whether a multiple of the period lies after `before` and not after `now`."""
        clock, period = self._period
        value = _read(self, clock, now)
        last = None if before is None else getattr(before, clock)
        if last is None:
            return now.phase != "start" and value > 0 and value % period == 0
        return bool(value // period > last // period)

    def __repr__(self) -> str:
        unit = next(unit for unit in _CLOCKS if getattr(self, unit) is not None)
        return f"Every({unit}={getattr(self, unit)})"


@final
@dataclasses.dataclass(frozen=True, init=False, repr=False)
class At(Schedule):
    """Due at chosen steps or epochs; 0 is before the first.

    Args:
        steps: numbers of completed steps.
        epochs: numbers of completed epochs; give one of the two.

    Example:
        >>> At(steps=[0, 10, 100]).due(Moment(step=8), Moment(step=12))
        True
    """

    clock: Literal["step", "epoch"]
    values: frozenset[int]

    def __init__(
        self, *, steps: Iterable[int] | None = None, epochs: Iterable[int] | None = None
    ) -> None:
        if (steps is None) == (epochs is None):
            msg = f"`At` takes one of steps and epochs, got {steps=}, {epochs=}"
            raise ValueError(msg)
        values = frozenset(steps if steps is not None else epochs or ())
        if not values or not all(isinstance(value, int) and value >= 0 for value in values):
            msg = f"`At` takes whole numbers from 0, got {sorted(values)}"
            raise ValueError(msg)
        object.__setattr__(self, "clock", "step" if steps is not None else "epoch")
        object.__setattr__(self, "values", values)

    def due(self, before: Moment | None, now: Moment) -> bool:
        """Return whether a chosen number lies after `before` and not after `now`."""
        value = _read(self, self.clock, now)
        last = None if before is None else getattr(before, self.clock)
        if last is None:
            return value in self.values
        return any(last < chosen <= value for chosen in self.values)

    def __repr__(self) -> str:
        return f"At({self.clock}s={sorted(self.values)})"


@final
@dataclasses.dataclass(frozen=True)
class Budget(Schedule):
    """Due as often as keeps the callback under a share of the wall time.

    The first run, after the first step, shows what a run costs; from then on a run starts when a
    share of `share` is kept even if it takes as long as the longest so far.

    Args:
        share: above 0 and below 1.
    """

    share: float
    agrees = False

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            msg = f"`share` must be above 0 and below 1, got {self.share!r}"
            raise ValueError(msg)

    def due(self, before: Moment | None, now: Moment) -> bool:
        """Return whether one more run fits."""
        elapsed = _read(self, "elapsed_s", now)
        room = self.share * (elapsed + now.longest_s) - now.spent_s - now.longest_s
        return now.phase != "start" and (now.spent_s == 0 or room >= 0)


@final
@dataclasses.dataclass(frozen=True)
class _AtPhase(Schedule):
    phase: Phase

    def due(self, before: Moment | None, now: Moment) -> bool:
        return now.phase == self.phase

    def __repr__(self) -> str:
        return f"at_{self.phase}"


at_start: Schedule = _AtPhase("start")
"""Due before the first step; a resumed training does not start again."""

at_end: Schedule = _AtPhase("end")
"""Due after the last step, if the training ended without an error."""


@final
@dataclasses.dataclass(frozen=True)
class _Function(Schedule):
    function: Callable[[Moment], bool]
    agrees = False

    def due(self, before: Moment | None, now: Moment) -> bool:
        return bool(self.function(now))

    def __repr__(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))


@final
@dataclasses.dataclass(frozen=True)
class _Joined(Schedule):
    parts: tuple[Schedule, Schedule]
    word: Literal["|", "&"]

    @property
    def agrees(self) -> bool:  # type: ignore[override]
        return all(part.agrees for part in self.parts)

    def due(self, before: Moment | None, now: Moment) -> bool:
        first, second = (part.due(before, now) for part in self.parts)
        return (first or second) if self.word == "|" else (first and second)

    def __repr__(self) -> str:
        texts = [
            f"({part!r})" if self.word == "&" and getattr(part, "word", "") == "|" else repr(part)
            for part in self.parts
        ]
        return f" {self.word} ".join(texts)


_UNITS = {
    "step": "steps",
    "steps": "steps",
    "epoch": "epochs",
    "epochs": "epochs",
    "min": "minutes",
    "minute": "minutes",
    "minutes": "minutes",
    "s": "seconds",
    "second": "seconds",
    "seconds": "seconds",
}


def schedule(when: Scheduled) -> Schedule:
    """Return the schedule that a string or a function means.

    Args:
        when: `"500 steps"`, `"1 epoch"`, `"20 min"`, `"30 s"`, `"5%"` (of the wall time),
            `"at start"`, `"at end"`, several joined by `|` and `&` (which binds tighter); or a
            function that is given each moment; or a schedule.

    Example:
        >>> schedule("4 steps & 1 epoch | at end")
        Every(steps=4) & Every(epochs=1) | at_end
    """
    if isinstance(when, Schedule):
        return when
    if isinstance(when, str):
        return functools.reduce(
            lambda a, b: a | b,
            (
                functools.reduce(lambda a, b: a & b, map(_parse, part.split("&")))
                for part in when.split("|")
            ),
        )
    if callable(when):
        return _Function(when)
    msg = f"`every` must be a schedule, a string or a function, got {when!r}"
    raise TypeError(msg)


def _parse(text: str) -> Schedule:
    words = " ".join(text.split())
    if words in ("at start", "at end"):
        return at_start if words == "at start" else at_end
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(%|[a-z]+)", words)
    number, unit = match.groups() if match else ("1", "")
    value: Any = float(number) if "." in number else int(number)
    if unit == "%":
        return Budget(value / 100)
    if unit in _UNITS:
        return Every(**{_UNITS[unit]: value})
    forms = [f"{number} {unit}" for unit in _UNITS] + [f"{number}%", "at start", "at end"]
    nearest = difflib.get_close_matches(words, forms, n=1, cutoff=0.5)
    write = f"did you mean {nearest[0]!r}? Write" if nearest else "write"
    msg = (
        f"`every` is no schedule, got {words!r}; {write} '500 steps', '1 epoch', '20 min', "
        "'30 s', '5%', 'at start' or 'at end', joined by '|' and '&'"
    )
    raise ValueError(msg)


def _read(asked: Schedule, clock: str, now: Moment) -> float:
    value: float | None = getattr(now, clock)
    if value is None:
        msg = f"{asked!r} needs `{clock}`, which is not given; pass `{clock}=` where you ask"
        raise ValueError(msg)
    return value
