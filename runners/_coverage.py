"""Whether a run examined the declared set: every sample, exactly once."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from milepost.errors import CoverageError

Ids = np.ndarray[Any, Any]


@final
class Coverage:
    """The ids that one worker examined, by role.

    Args:
        declared: the number of samples that each role declares; None if it does not say.
        shared_ids: whether equal ids of two roles stand for one item.
    """

    def __init__(self, declared: Mapping[str, int | None], *, shared_ids: bool = False) -> None:
        self._declared = declared
        self._shared_ids = shared_ids
        self._ids: dict[str, list[Ids]] = {role: [] for role in declared}

    def add(self, role: str, ids: Ids) -> None:
        """Note rows that were examined."""
        self._ids[role].append(ids)

    def ids(self) -> dict[str, Ids]:
        """Return the ids of each role."""
        return {role: _join(role, parts) for role, parts in self._ids.items()}

    def check(self, workers: Sequence[Mapping[str, Ids]]) -> dict[str, int]:
        """Return how many samples of each role all workers examined together.

        Args:
            workers: what `ids` gave on each worker.

        Raises:
            CoverageError: with expected, seen, duplicated and missing.
        """
        ids = {role: _join(role, [each[role] for each in workers]) for role in self._declared}
        for role, declared in self._declared.items():
            _check_role(role, declared, ids[role])
        if self._shared_ids:
            _check_kinds("the roles that share ids", [each for each in ids.values() if len(each)])
        return {role: len(each) for role, each in ids.items()}


def _join(role: str, parts: Sequence[Ids]) -> Ids:
    filled = [part for part in parts if len(part)]
    _check_kinds(f"role {role!r}", filled)
    return np.concatenate(filled) if filled else np.empty(0, dtype=np.int64)


def _check_kinds(where: str, shares: Sequence[Ids]) -> None:
    """Raise unless all ids are integers, or all strings: equal ones could not be told."""
    if len({share.dtype.kind for share in shares}) > 1:
        msg = f"ids must be all integers or all strings, got both in {where}"
        raise ValueError(msg)


def _check_role(role: str, declared: int | None, ids: Ids) -> None:
    distinct, counts = np.unique(ids, return_counts=True)
    expected = len(distinct) if declared is None else declared
    if len(ids) == len(distinct) == expected:
        return
    twice = distinct[counts > 1]
    msg = (
        f"the source of role {role!r} declares {expected} samples, but {len(ids)} were seen "
        f"(duplicated: {len(ids) - len(distinct)}{_some(twice)}, "
        f"missing: {max(expected - len(distinct), 0)})"
    )
    raise CoverageError(msg)


def _some(ids: Ids) -> str:
    return f", such as id {ids[0]}" if len(ids) else ""
