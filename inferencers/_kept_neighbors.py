"""The first neighbours of queries, kept as evidence."""

from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._compared_labels import Bools, Ints
from milepost.inferencers._nearest_lists import NearestLists
from milepost.inferencers._pair_rows import RoleRows, positions_of
from milepost.neighbors import AnyDistance, listed_scores, own_scores


class Neighbor(NamedTuple):
    """Neighbours of queries, P pairs: those of a query one after the other, the nearest first.

    Attributes:
        queries: int64 (P,), the positions of the queries, ascending.
        ranks: int64 (P,), from 1.
        ids: shape (P,).
        codes: int64 (P,), their label codes.
        scores: float32 (P,).
    """

    queries: Ints
    ranks: Ints
    ids: npt.NDArray[Any]
    codes: Ints
    scores: npt.NDArray[np.float32]


@final
class KeptNeighbors:
    """Keeps the first neighbours of the queries of each pass.

    Memory: 28 bytes and an id for each.

    Args:
        count: how many a query.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._parts: list[Neighbor] = []

    def add(self, queries: Ints, counted: Bools, lists: NearestLists) -> None:
        """Keep the first of the lists of queries (q,), of those that are counted (q,)."""
        if self._count and len(queries):
            rows, ranks = np.nonzero((lists.codes[:, : self._count] >= 0) & counted[:, None])
            at = rows, ranks
            ids, codes, scores = lists.ids_at(*at), lists.codes[at], lists.scores[at]
            self._parts.append(Neighbor(queries[rows], ranks + 1, ids, codes, scores))

    def sorted(self) -> Neighbor:
        """Return all of them in the order of queries."""
        if not self._parts:
            none = np.zeros(0, np.int64)
            return Neighbor(none, none, none, none, np.zeros(0, np.float32))
        columns: list[npt.NDArray[Any]] = [
            np.concatenate(x) for x in zip(*self._parts, strict=True)
        ]
        order = np.argsort(columns[0], kind="stable")
        return Neighbor(*(column[order] for column in columns))


def rescored(
    near: Neighbor, queries: RoleRows, gallery: RoleRows, distance: AnyDistance
) -> Neighbor:
    """Return neighbours with their scores, where only their order was asked for."""
    positions = positions_of(near.ids, gallery.ids)
    embeddings = queries.embeddings, gallery.embeddings
    scores = listed_scores(*embeddings, near.queries, positions, distance=distance)
    values = own_scores(distance, scores[:, None], queries.embeddings, near.queries)
    return near._replace(scores=values[:, 0])
