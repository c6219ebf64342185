"""The scores of a list of pairs whose rows lie on any worker."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from milepost.inferencers._inferencer import Rows, State
from milepost.inferencers._pair_list import PairList
from milepost.inferencers._pair_rows import PairRows, beside, positions_of
from milepost.inferencers._scored_pairs import Columns
from milepost.neighbors import Distance, listed_scores

_LABEL = "label"


@final
class ListedPairs:
    """Collects rows, and scores the listed pairs of which the worker has the left row.

    Right rows are those of role `gallery` where there are any, else those of role `query`.

    Args:
        pairs: the list.
        fields: that which holds embeddings and, where the list does not tell which pairs are
            genuine, that which holds labels.
        distance: what scores are made of.
    """

    def __init__(self, pairs: PairList, fields: Sequence[str], distance: Distance) -> None:
        self._pairs, self._distance = pairs, distance
        embeddings, *labels = fields
        self._has_labels = bool(labels)
        self._collected = PairRows(embeddings, labels[0] if labels else _LABEL)
        self._has_gallery = False

    def add(self, rows: Rows, max_memory_bytes: int | None) -> None:
        """Take one batch."""
        if not self._has_labels:
            rows = {**rows, _LABEL: np.zeros(len(rows["id"]), np.int64)}
        self._collected.add(rows, max_memory_bytes)

    def state(self) -> State:
        """Return whether there are gallery rows, and rows at all."""
        sizes = (len(self._collected.of(role).ids) for role in ("query", "gallery"))
        has_query, has_gallery = (size > 0 for size in sizes)
        return {"query": has_query, "gallery": has_gallery or self._has_gallery}

    def merge(self, states: Sequence[State]) -> None:
        """Take in what other workers have."""
        self._has_gallery |= any(state["gallery"] for state in states)

    @property
    def is_empty(self) -> bool:
        """Whether this worker has no query."""
        return not self.state()["query"]

    def rows(self) -> Rows:
        """Return this worker's rows that may be the right of a pair."""
        role = "gallery" if self.state()["gallery"] else "query"
        rows = self._collected.of(role)
        return {
            "id": rows.ids,
            "role": np.full(len(rows.ids), role),
            "embeddings": rows.embeddings,
            _LABEL: rows.labels,
        }

    def scored(self, part: Rows) -> Columns:
        """Return the pairs of a row of this worker and one of a part, with their scores.

        Raises:
            ValueError: the ids listed are of another type than those of the data.
        """
        own, told = self._collected.of("query"), self._pairs.columns
        if not len(own.ids) or not len(part["id"]):
            return {"id": np.zeros(0, np.int64)}
        left, right = (
            _where(told[name], ids) for name, ids in (("left", own.ids), ("right", part["id"]))
        )
        (at,) = np.nonzero((left >= 0) & (right >= 0))
        others = beside(part["embeddings"], own.embeddings)
        scores = listed_scores(own.embeddings, others, left[at], right[at], distance=self._distance)
        same = self._pairs.same
        if same is None:
            equal = own.labels[left[at]] == part[_LABEL][right[at]]
            same = np.zeros(len(self._pairs), np.bool_)
            same[at] = equal if equal.ndim == 1 else equal.all(axis=1)
        role = told.get("role", np.full(len(self._pairs), "query"))
        return {
            **{name: column[at] for name, column in told.items()},
            "id": at,
            "role": role[at],
            "score": scores,
            "same": same[at],
        }


def _where(listed: np.ndarray[Any, Any], ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the position among sorted ids of each that is listed, or -1."""
    if (listed.dtype.kind in "US") != (ids.dtype.kind in "US"):
        msg = f"`pairs` must hold ids as the data has them, {ids.dtype}, got {listed.dtype}"
        raise ValueError(msg)
    return positions_of(listed, ids)
