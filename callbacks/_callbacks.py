"""Several callbacks as one: who runs when, and what happens when one fails."""

import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, final

from milepost.callbacks._callback import Callback
from milepost.callbacks._clean_up import run_all
from milepost.callbacks._moment import Moment, Phase
from milepost.callbacks._record import Record
from milepost.callbacks._timer import Timer


@final
class Callbacks(Callback):
    """Several callbacks as one, in the order of the list.

    Who drives it sets `trainer`, then calls its hooks. At each moment the hooks of all members
    run, then `trigger` of those that are due; at the start and at the end of the training too. An
    error in a hook ends the training; then `on_exception` (after an error) and `after_train` of
    every member that was set up run, and the first error is raised with the others as notes.

    Two members with one `name` are told apart: the second is renamed, with a warning.

    Args:
        callbacks: the members; each object once.
    """

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self._members = _by_key(callbacks)
        self._timers = {
            key: Timer(member.every)
            for key, member in self._members.items()
            if type(member).trigger is not Callback.trigger
        }
        self._agree = all(timer.schedule.agrees for timer in self._timers.values())
        self._ready: list[Callback] = []
        self._failed = False
        self._ended = False

    def setup(self) -> None:
        """Set up each, with the trainer of this group."""
        self._ready, self._failed, self._ended = [], False, False
        for member in self._members.values():
            member.trainer = self.trainer
            member.setup()
            self._ready.append(member)
        self.takes_tables = any(member.takes_tables for member in self._ready)

    def before_train(self) -> None:
        """Run the hook of each, then what is due at the start."""
        for member in self._members.values():
            member.before_train()
        self._trigger_due("start")

    def before_epoch(self) -> None:
        """Run the hook of each."""
        for member in self._members.values():
            member.before_epoch()

    def after_step(self) -> None:
        """Run the hook of each, then what is due."""
        for member in self._members.values():
            member.after_step()
        self._trigger_due("step")

    def after_epoch(self) -> None:
        """Run the hook of each, then what is due."""
        for member in self._members.values():
            member.after_epoch()
        self._trigger_due("epoch")

    def on_metrics(self, record: Record, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Run the hook of each."""
        for member in self._members.values():
            member.on_metrics(record, weights)

    def on_exception(self, error: BaseException) -> None:
        """Run the hook of each that was set up."""
        self._failed = True
        _raise(run_all(partial(member.on_exception, error) for member in self._ready))

    def at_end(self) -> None:
        """Run what is due at the end, where that is before `after_train`."""
        self._ended = True
        self._trigger_due("end")

    def after_train(self) -> None:
        """Run what is due at the end, unless there was an error; then the hook of each."""
        error = None
        if not self._failed and not self._ended:
            error = run_all([self.at_end])
        if error is not None:
            run_all([partial(self.on_exception, error)], error)
        ready, self._ready = self._ready, []
        _raise(run_all((member.after_train for member in ready), error))

    def measures(self, metric: str) -> str | None:
        """Return the name of the member that measures a metric, by the metric's full name."""
        return next((key for key in self._timers if metric.startswith(f"{key}/")), None)

    def trigger_for(self, metric: str) -> str | None:
        """Trigger the member that measures a metric, unless it was just now; return its name."""
        key = self.measures(metric)
        if key is not None and not self._timers[key].has_fired:
            self._trigger(key)
        return key

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each and of its schedule, by its name or its class's."""
        return {
            key: {
                "state": member.state_dict(),
                "timer": self._timers[key].state_dict() if key in self._timers else None,
            }
            for key, member in self._members.items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; a member that is new starts afresh."""
        for key, saved in state.items():
            if key not in self._members:
                msg = f"the saved state of the callback {key!r} is not used: there is none now"
                warnings.warn(msg, UserWarning, stacklevel=3)
                continue
            self._members[key].load_state_dict(saved["state"])
            if key in self._timers and saved["timer"] is not None:
                self._timers[key].load_state_dict(saved["timer"])

    def _trigger_due(self, phase: Phase) -> None:
        trainer = self.trainer
        now = Moment(trainer.step, trainer.epoch, trainer.elapsed_s, phase)
        due = [timer.ask(now) for timer in self._timers.values()]
        if not self._agree and trainer.world.size > 1:
            due = trainer.world.broadcast(due)
        for key in itertools.compress(self._timers, due):
            self._trigger(key)

    def _trigger(self, key: str) -> None:
        self._timers[key].fire()
        began_s = self.trainer.elapsed_s
        self._members[key].trigger()
        self._timers[key].spend(self.trainer.elapsed_s - began_s)


def _raise(error: BaseException | None) -> None:
    if error is not None:
        raise error


def _by_key(callbacks: Iterable[Callback]) -> dict[str, Callback]:
    """The members by the names of their states, which stay the same over a resume."""
    if isinstance(callbacks, Callback):
        msg = f"`callbacks` must be a list of Callback objects, got {callbacks!r} by itself"
        raise TypeError(msg)
    members = list(callbacks)
    for member in members:
        if not isinstance(member, Callback):
            msg = f"`callbacks` must hold Callback objects, got {member!r}"
            raise TypeError(msg)
        if sum(member is other for other in members) > 1:
            msg = f"`callbacks` may hold an object once, got {member!r} twice"
            raise ValueError(msg)
    _rename_twins(members)
    by_key: dict[str, Callback] = {}
    for member in members:
        by_key[_free(_name(member) or type(member).__name__, by_key)] = member
    return by_key


def _rename_twins(members: list[Callback]) -> None:
    names = {_name(member) for member in members}
    seen = set()
    for member in members:
        name = _name(member)
        if name is not None and name in seen:
            new = _free(name, names)
            msg = f"two callbacks are named {name!r}: the second is now {new!r}; give each a `name`"
            warnings.warn(msg, UserWarning, stacklevel=5)
            member.name = new  # type: ignore[attr-defined]  # `_name` found one
            names.add(new)
        seen.add(name)


def _name(member: Callback) -> str | None:
    name = getattr(member, "name", None)
    return name if isinstance(name, str) else None


def _free(name: str, taken: Iterable[str | None]) -> str:
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if free not in taken)
