"""What a model gave for batches, kept so that a gallery is not encoded twice."""

import os
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

from milepost.errors import unknown_name
from milepost.predictors import Identity, Packed, Predictor, UnidentifiedError
from milepost.runners._arguments import check_least, check_names
from milepost.runners._batch import Batch
from milepost.runners._cache_file import CacheFolder, Entry

_NAMED = 3  # changes that a message lists

Outputs = tuple[Mapping[str, Any], tuple[str, ...]]
"""What was asked of the model, and the names of all its own outputs."""


@final
@dataclass(frozen=True)
class Cache:
    """Keeps what the model gives for each batch, for a run with the same model and data.

    The batches are loaded as ever. The key of a batch digests the values that go to the model, the
    weights, the code that runs and all that decides how, so that metrics are the same to the bit
    with the cache and without. What cannot be told for sure (a model whose code cannot be seen,
    that draws random numbers, or that an evaluation changes) is not kept, with a warning.

    Args:
        path: a folder, which several processes and runs may share.
        max_bytes: what the files may take; those that were used least recently go first.
        roles: the roles of the data that are kept, such as `("gallery",)`; None: all.

    Raises:
        ValueError: an argument is out of range.
    """

    path: str | os.PathLike[str]
    max_bytes: int = 16 * 2**30
    roles: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_least("max_bytes", self.max_bytes, 1)
        check_names(roles=self.roles)

    @classmethod
    def of(cls, given: Any, roles: Sequence[str]) -> Self | None:
        """Return the cache that a user's argument means, for data of some roles."""
        if isinstance(given, str | os.PathLike):
            return cls(given)
        if given is not None and not isinstance(given, cls):
            msg = f"`cache` must be a folder or a Cache, got {given!r}"
            raise TypeError(msg)
        for role in () if given is None else given.roles or ():
            if role not in roles:
                raise unknown_name("role of the data", role, roles)
        return given


@final
class CacheRun:
    """One evaluation's use of a cache, by one process; a context manager around its batches.

    What is written counts once the evaluation is over, and nothing has changed that decides what
    the model gives.

    Args:
        cache: where, how much, and what of it.

    Attributes:
        hits: how many samples were found.
        misses: how many were looked up and not found.
    """

    def __init__(self, cache: Cache) -> None:
        self.hits = self.misses = 0
        self._roles = cache.roles
        self._folder = CacheFolder(Path(cache.path), cache.max_bytes)
        self._started = time.time()
        self._room: int | None = None
        self._refused = self._full = False
        self._lock = threading.Lock()
        self._users: list[CachedForward] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            for user in self._users:
                self._folder.drop(user.written) if self._refused else self._keep(user)
            if self._room is not None:
                self._folder.shrink()
        except OSError as error:  # the metrics are found, and are not to be lost
            _warn(f"not all could be kept ({error})")

    def of(self, predictor: Predictor) -> "CachedForward":
        """Return what runs batches through a predictor, or finds what it gave."""
        self._users.append(CachedForward(self, predictor))
        return self._users[-1]

    def takes(self, role: str) -> bool:
        """Tell whether the batches of a role are looked up and kept."""
        return not self._refused and (self._roles is None or role in self._roles)

    def find(self, key: str, samples: int) -> Entry | None:
        """Return what is kept for so many samples."""
        entry = self._folder.read(key)
        with self._lock:
            self.hits += samples if entry else 0
            self.misses += 0 if entry else samples
        return entry

    def write(self, key: str, entry: Entry) -> Path | None:
        """Write an entry aside, and return where; None where there is no room."""
        if self._full:
            return None
        try:
            path = self._folder.write(key, entry)
            with self._lock:
                room = self._folder.room(self._started) if self._room is None else self._room
                self._room = room - path.stat().st_size
        except OSError as error:
            self.refuse(str(error))
            return None
        if self._room >= 0:
            return path
        self._folder.drop({key: path})
        if not self._full:
            self._full = True
            _warn("it holds a part of the outputs; raise `max_bytes`")
        return None

    def refuse(self, reason: str) -> None:
        """Look up and keep nothing more in this run, and say why."""
        with self._lock:
            if not self._refused:
                self._refused = True
                _warn(f"it is not used: {reason}")

    def _keep(self, user: "CachedForward") -> None:
        """Keep what was written, if the model is still the same."""
        try:
            changes = user.changes()
        except (UnidentifiedError, RuntimeError) as error:  # of a device that failed, say
            changes = [f"what could be told of the model ({error})"]
        if changes:
            self._folder.drop(user.written)
            _warn(f"it is not used: the evaluation changed {', '.join(changes[:_NAMED])}")
        else:
            self._folder.keep(user.written)


@final
class CachedForward:
    """Runs batches through a predictor, or finds what it gave.

    Args:
        run: the evaluation.
        predictor: the model under inference, in whose scope all is called.

    Attributes:
        written: where entries are that are to be kept, by key.
    """

    def __init__(self, run: CacheRun, predictor: Predictor) -> None:
        self.written: dict[str, Path] = {}
        self._run = run
        self._predictor = predictor
        self._identity: Identity | None = None

    def changes(self) -> list[str]:
        """Return what has changed of the model since it was identified, where that matters."""
        return self._identity.changes() if self._identity and self.written else []

    def __call__(self, predictor: Predictor, batch: Batch) -> Outputs:
        """Return what a predictor on the same model gives for a batch."""
        if predictor.outputs is None or batch.is_spare or not self._run.takes(batch.role):
            return run_model(predictor, batch)
        try:
            if self._identity is None:
                self._identity = self._predictor.identity()
            key = self._identity.key(predictor, batch.fields).hex()
        except (UnidentifiedError, RecursionError) as error:
            self._run.refuse(str(error))
            return run_model(predictor, batch)
        entry = self._run.find(key, len(batch))
        if entry is None:
            return self._made(predictor, batch, key, self._identity)
        return {x: self._identity.unpack(y) for x, y in entry.arrays.items()}, entry.own

    def _made(self, predictor: Predictor, batch: Batch, key: str, identity: Identity) -> Outputs:
        """Return what the model gives, and write it if it can be kept."""
        before = identity.draws()
        outputs, own = run_model(predictor, batch)
        if identity.draws() != before:
            self._run.refuse("random numbers are drawn while the model runs")
            return outputs, own
        arrays: dict[str, Packed] = {}
        for name, value in outputs.items():
            packed = identity.pack(value)
            if packed is None:
                self._run.refuse(f"the output {name!r} is a {type(value).__name__}")
                return outputs, own
            arrays[name] = packed
        path = self._run.write(key, Entry(own, arrays))
        if path is not None:
            self.written[key] = path
        return outputs, own


def run_model(predictor: Predictor, batch: Batch) -> Outputs:
    """Return what a predictor gives for a batch."""
    outputs = predictor.forward(batch.fields)
    return outputs, predictor.own_outputs or ()


def _warn(message: str) -> None:
    warnings.warn(f"cache: {message}", RuntimeWarning, stacklevel=3)
