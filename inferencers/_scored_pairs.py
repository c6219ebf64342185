"""Pairs with their scores, collected on one worker and joined with those of others."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from milepost.errors import NonFiniteError
from milepost.inferencers._inferencer import Rows, State
from milepost.inferencers._label_table import check_alike
from milepost.neighbors import Array, Distance, backend_of, listed_scores

Column = npt.NDArray[Any]
Columns = Mapping[str, Column]
_NAMED = 5  # how many ids a message names


@final
class ScoredPairs:
    """A table of pairs, one a row: `id`, `score`, `same` and what else is told of each.

    Memory: about 20 bytes a pair, and as much again for each worker's state while states are
    merged.

    Args:
        names: of the columns.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._own: list[Columns] = []
        self._others: list[Columns] = []
        self._joined: dict[str, Column] | None = None

    def add(self, pairs: Columns) -> None:
        """Take some pairs of this worker."""
        if len(pairs["id"]):
            self._own.append({name: pairs[name] for name in self._names})
            self._joined = None

    def state(self) -> State:
        """Return the pairs of this worker."""
        return self._columns(self._own)

    def merge(self, states: Sequence[State]) -> None:
        """Take the pairs of other workers."""
        self._others += [state for state in states if len(state["id"])]
        self._joined = None

    def all(self) -> dict[str, Column]:
        """Return the pairs of all workers by id, and which are this worker's, as `is_own`."""
        if self._joined is None:
            columns = self._columns([*self._own, *self._others])
            columns["is_own"] = np.arange(len(columns["id"])) < sum(len(x["id"]) for x in self._own)
            order = np.argsort(columns["id"], kind="stable")
            self._joined = {name: column[order] for name, column in columns.items()}
        return self._joined

    def _columns(self, parts: Sequence[Columns]) -> dict[str, Column]:
        if not parts:
            return {name: np.zeros(0) for name in self._names}
        for name in self._names:
            check_alike([part[name] for part in parts], f"`{name}`")
        return {name: np.concatenate([part[name] for part in parts]) for name in self._names}


def score_rows(rows: Rows, fields: tuple[str, str], distance: Distance) -> Column:
    """Return the score of each row's two embeddings, float32 (N,).

    Args:
        rows: one batch.
        fields: the names of the embeddings, each of shape (N, d).
        distance: what a score is made of.

    Raises:
        NonFiniteError: an embedding is NaN or infinite in float32.
        ValueError: they are no matrices of one shape.
    """
    left, right = (_embeddings(rows, field) for field in fields)
    if left.shape != right.shape:
        msg = (
            f"`{fields[0]}` and `{fields[1]}` must have one shape, "
            f"got {tuple(left.shape)} and {tuple(right.shape)}"
        )
        raise ValueError(msg)
    at = np.arange(len(left))
    return listed_scores(left, right, at, at, distance=distance)


def _embeddings(rows: Rows, field: str) -> Array:
    backend = backend_of(rows[field])
    embeddings = backend.rows32(rows[field])
    if embeddings.ndim != 2 or embeddings.shape[1] == 0:
        msg = f"`{field}` must have shape (N, d), got {tuple(embeddings.shape)}"
        raise ValueError(msg)
    bad = ~backend.numpy(backend.finite_rows(embeddings))
    if bad.any():
        first = ", ".join(map(str, np.asarray(rows["id"])[bad][:_NAMED].tolist()))
        msg = (
            f"`{field}` is NaN or infinite in {bad.sum()} of {len(bad)} rows of a batch; "
            f"the first ids: {first}"
        )
        raise NonFiniteError(msg)
    return embeddings
