"""One worker's queries in their passes over the gallery.

Q is the number of queries, M that of metrics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._nearest_lists import NearestLists
from milepost.inferencers._pair_rows import RoleRows, beside, positions_of
from milepost.inferencers._ranking_metrics import Floats, Ranking, RankingMetric
from milepost.inferencers._relevance import Bools, Ints, Relevance
from milepost.neighbors import (
    Array,
    Distance,
    Neighbors,
    backend_of,
    count_before,
    memory_budget,
    nearest_listed,
    search,
)

_RANKED = 1 << 18  # neighbours ranked at once: their temporary arrays stay in the cache
_LISTED_COST = 32  # of scoring a listed pair, as a multiple of that of a pair in a block


@dataclass(frozen=True)
class GalleryPart:
    """A block of one worker's gallery rows, sorted by id.

    Attributes:
        ids: shape (G,).
        embeddings: float32 (G, d).
        codes: int64 (G,), label codes.
    """

    ids: npt.NDArray[Any]
    embeddings: Array
    codes: Ints


@dataclass(frozen=True)
class SearchOptions:
    """How queries are searched.

    Attributes:
        distance: what scores are made of.
        leave_out_copies: whether a gallery row with a query's id is the query itself.
        max_memory_bytes: the budget; None: a quarter of what is available.
    """

    distance: Distance
    leave_out_copies: bool
    max_memory_bytes: int | None


class Finding(NamedTuple):
    """What a pass found.

    Attributes:
        queries: int64 (q,), the queries of the pass.
        values: float64 (q, M), the values found; 0 where it found none.
        judged: int64, the queries for which it is now known whether they have a relevant row.
    """

    queries: Ints
    values: Floats
    judged: Ints


@final
class QueryPasses:
    """Finds the values of metrics for the queries of one worker.

    The first passes take the queries in blocks, as many as have room for their lists of nearest
    rows, and find all but some reciprocal ranks. Where a list holds no relevant row, one more pass
    finds the best relevant row of those queries, and a last one counts the rows before it.

    Memory: half the budget for lists, half for blocks of scores; 8 Q M bytes for the values.

    Args:
        rows: the queries, sorted by id.
        codes: int64 (Q,), their label codes.
        relevance: which labels are relevant.
        gallery_size: the number of gallery rows of all workers.
        metrics: what to find.
        options: how to search.

    Attributes:
        values: float64 (Q, M), NaN where not found yet or where nothing is relevant.
        has_relevant: bool (Q,), whether the gallery has a relevant row; known after a query's pass.
    """

    def __init__(
        self,
        rows: RoleRows,
        codes: Ints,
        relevance: Relevance,
        gallery_size: int,
        metrics: Sequence[RankingMetric],
        options: SearchOptions,
    ) -> None:
        self.values = np.full((len(codes), len(metrics)), np.nan)
        self.has_relevant = np.zeros(len(codes), np.bool_)
        self._rows, self._codes, self._relevance = rows, codes, relevance
        self._metrics, self._options = metrics, options
        self._most_relevant = relevance.totals()[codes]
        self._gallery_size = gallery_size
        self._depths = self._list_depths()
        self._blocks = self._plan()
        self._own = np.full(len(codes), -1)  # the label code of a query's own copy
        self._unranked = np.zeros(0, np.int64)

    @property
    def rounds(self) -> int:
        """How many passes are needed, as far as is known."""
        return len(self._blocks) + 2 * bool(len(self._unranked))

    def start(self, round: int) -> None:
        """Prepare for a pass."""
        self._chosen = self._queries_of(round)
        if round < len(self._blocks):
            self._lists = NearestLists(len(self._chosen), int(self._depths[self._chosen].max()))
        elif round == len(self._blocks):
            self._lists = NearestLists(len(self._chosen), 1)
        else:
            self._before = np.zeros(len(self._chosen), np.int64)
        self._embeddings = _take(self._rows.embeddings, self._chosen)

    def scan(self, part: GalleryPart, round: int) -> None:
        """Compare the queries of this pass with a part of the gallery."""
        if not len(self._chosen) or not len(part.ids):
            return
        exclude = self._own_copies(part)
        if round <= len(
            self._blocks
        ):  # the pass after the last block's looks for the best relevant
            relevant = round == len(self._blocks)
            found = self._best_relevant(part, exclude) if relevant else None
            found = found or self._search(part, exclude, only_relevant=relevant)
            self._lists.offer(found, part.ids, part.codes)
        else:
            self._before += self._count_before(part, exclude)

    def end(self, round: int) -> Finding:
        """Finish a pass; return what it found."""
        queries, values = self._chosen, np.zeros((len(self._chosen), len(self._metrics)))
        if round < len(self._blocks):
            self._rank(queries)
            values = np.nan_to_num(self.values[queries])
        elif round > len(self._blocks) and len(queries):
            column = [metric.name for metric in self._metrics].index("mrr")
            values[:, column] = self.values[queries, column] = 1 / (1 + self._before)
        judged = queries if round < len(self._blocks) else queries[:0]
        if round == 0:
            judged = np.concatenate([judged, np.flatnonzero(self._most_relevant == 0)])
        return Finding(queries, values, judged)

    def _list_depths(self) -> Ints:
        at_least = max([1, *(metric.k or 1 for metric in self._metrics)])
        depths = np.full(len(self._codes), at_least)
        if any(metric.needs_r for metric in self._metrics):
            depths = np.maximum(depths, self._most_relevant)
        return depths.clip(max=self._gallery_size)

    def _plan(self) -> list[Ints]:
        """Return the queries of each pass: of similar depth, with room for their lists."""
        (queries,) = np.nonzero(self._most_relevant)
        queries = queries[np.argsort(self._depths[queries], kind="stable")]
        entry_bytes = 5 * (12 + max(8, self._rows.ids.itemsize))
        room = memory_budget(self._options.max_memory_bytes, self._codes) // 2
        blocks = []
        while len(queries):
            cost = np.arange(1, len(queries) + 1) * self._depths[queries] * entry_bytes
            size = max(1, int(np.searchsorted(cost, room, side="right")))
            blocks.append(np.sort(queries[:size]))
            queries = queries[size:]
        return blocks

    def _queries_of(self, round: int) -> Ints:
        if round < len(self._blocks):
            return self._blocks[round]
        return self._unranked if round < self.rounds else np.zeros(0, np.int64)

    def _own_copies(self, part: GalleryPart) -> Ints:
        """Return the position of each query's own copy in the part, or -1; note its label."""
        if not self._options.leave_out_copies:
            return np.full(len(self._chosen), -1)
        positions = positions_of(self._rows.ids[self._chosen], part.ids)
        (found,) = np.nonzero(positions >= 0)
        self._own[self._chosen[found]] = part.codes[positions[found]]
        return positions

    def _search(self, part: GalleryPart, exclude: Ints, *, only_relevant: bool) -> Neighbors:
        codes = self._codes[self._chosen]

        def relevant(queries: slice, gallery: slice) -> Bools:
            return self._relevance.of_gallery(codes[queries], part.codes[gallery])

        found = search(
            self._embeddings,
            beside(part.embeddings, self._embeddings),
            1 if only_relevant else int(self._depths[self._chosen].max()),
            distance=self._options.distance,
            exclude=exclude,
            allowed=relevant if only_relevant else None,
            scored=only_relevant or len(part.ids) < self._gallery_size,
            max_memory_bytes=self._block_bytes,
        )
        return Neighbors(*map(backend_of(*found).numpy, found))

    def _best_relevant(self, part: GalleryPart, exclude: Ints) -> Neighbors | None:
        """Return each query's nearest relevant row, if there are few of them to score."""
        pairs = self._relevance.pairs(self._codes[self._chosen], part.codes)
        if pairs is None or _LISTED_COST * pairs.number > len(self._chosen) * len(part.ids):
            return None
        rows, positions = pairs.listed()
        others = positions != exclude[rows]
        return nearest_listed(
            self._embeddings,
            beside(part.embeddings, self._embeddings),
            rows[others],
            positions[others],
            distance=self._options.distance,
        )

    def _count_before(self, part: GalleryPart, exclude: Ints) -> Ints:
        counts = count_before(
            self._embeddings,
            beside(part.embeddings, self._embeddings),
            self._lists.scores[:, 0],
            np.searchsorted(part.ids, self._lists.ids[:, 0]),
            distance=self._options.distance,
            exclude=exclude,
            max_memory_bytes=self._block_bytes,
        )
        return backend_of(counts).numpy(counts)

    @property
    def _block_bytes(self) -> int | None:
        budget = self._options.max_memory_bytes
        return None if budget is None else max(1, budget // 2)

    def _rank(self, queries: Ints) -> None:
        """Find the values of queries from their lists."""
        own_relevant = self._relevance.of_neighbors(self._codes[queries], self._own[queries, None])
        relevant = self._most_relevant[queries] - own_relevant[:, 0]
        (some,) = np.nonzero(relevant)
        self.has_relevant[queries[some]] = True
        step = max(1, _RANKED // max(1, self._lists.codes.shape[1]))
        for at in (some[start : start + step] for start in range(0, len(some), step)):
            self._rank_some(queries[at], relevant[at], self._lists.codes[at])

    def _rank_some(self, queries: Ints, relevant: Ints, neighbors: Ints) -> None:
        codes = self._codes[queries]
        ranking = Ranking(
            self._relevance.of_neighbors(codes, neighbors),
            relevant,
            neighbors,
            lambda labels: self._relevance.of_neighbors(codes, labels[:, None])[:, 0],
        )
        for column, metric in enumerate(self._metrics):
            self.values[queries, column] = metric.values(ranking)
            if metric.name == "mrr":
                unranked = queries[~ranking.relevance.any(axis=1)]
                self.values[unranked, column] = np.nan
                self._unranked = np.concatenate([self._unranked, unranked])


def _take(array: Array, positions: Ints) -> Array:
    """Return the rows at the positions: the array itself where they are all of it."""
    if len(positions) == len(array) and (positions == np.arange(len(array))).all():
        return array
    return array[backend_of(array).array(positions, like=array)]
