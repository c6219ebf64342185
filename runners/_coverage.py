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
    """

    def __init__(self, declared: Mapping[str, int | None]) -> None:
        self._declared = declared
        self._ids: dict[str, list[Ids]] = {role: [] for role in declared}

    def add(self, role: str, ids: Ids) -> None:
        """Note rows that were examined."""
        self._ids[role].append(ids)

    def ids(self) -> dict[str, Ids]:
        """Return the ids of each role."""
        return {
            role: np.concatenate(ids) if ids else np.empty(0, dtype=np.int64)
            for role, ids in self._ids.items()
        }

    def check(self, workers: Sequence[Mapping[str, Ids]]) -> dict[str, int]:
        """Return how many samples of each role all workers examined together.

        Args:
            workers: what `ids` gave on each worker.

        Raises:
            CoverageError: with expected, seen, duplicated and missing.
        """
        seen = {}
        for role, declared in self._declared.items():
            shares = [share[role] for share in workers if len(share[role])]
            ids = np.concatenate(shares) if shares else np.empty(0, dtype=np.int64)
            _check_role(role, declared, ids)
            seen[role] = len(ids)
        return seen


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
