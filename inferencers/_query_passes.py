"""One worker's queries in their passes over the gallery.

Q is the number of queries, M that of metrics.
"""

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np

from milepost.inferencers._compared_labels import Bools, Ints
from milepost.inferencers._gallery_part import GalleryPart, SearchOptions, half_of, widened
from milepost.inferencers._groups import Groups
from milepost.inferencers._kept_neighbors import KeptNeighbors
from milepost.inferencers._nearest_lists import NearestLists, list_entry_bytes
from milepost.inferencers._pair_rows import RoleRows, beside, positions_of, rows_at
from milepost.inferencers._query_values import Finding, QueryValues, with_lone
from milepost.neighbors import (
    Neighbors,
    backend_of,
    count_before,
    memory_budget,
    nearest_listed,
    own_scores,
    search,
    search_outside,
)

_SEARCHED_BYTES = 24  # of a neighbour that is found and left out
_LISTED_COST = 32  # of scoring a listed pair, as a multiple of that of a pair in a block


@final
class QueryPasses:
    """Finds the values of metrics for the queries of one worker.

    The first passes take the queries in blocks, as many as have room for their lists of nearest
    rows, and find all but some reciprocal ranks. Where a list holds no relevant row, one more pass
    finds the best relevant row of those queries, and a last one counts the rows before it.

    One search serves all levels of labels. Memory: half the budget for lists, half for blocks of
    scores.

    Args:
        rows: the queries, sorted by id.
        codes: int64 (Q,), their label codes.
        levels: their values, at each level of labels.
        gallery_size: the number of gallery rows of all workers.
        options: how to search.
        groups: the groups that queries leave out, if there are any, and int64 (Q,), those that the
            queries are in.

    Attributes:
        levels: as given.
        kept: the first neighbours of queries.
    """

    def __init__(
        self,
        rows: RoleRows,
        codes: Ints,
        levels: Sequence[QueryValues],
        gallery_size: int,
        options: SearchOptions,
        groups: tuple[Groups, Ints] | None = None,
    ) -> None:
        self.levels = levels
        self.kept = KeptNeighbors(options.kept)
        self._rows, self._codes, self._options = rows, codes, options
        self._copy_bytes = options.copy_bytes(rows.embeddings)
        self._groups = None if groups is None else groups[1]
        self._left_out = codes * 0 if groups is None else groups[0].sizes(groups[1])
        self._gallery_size = gallery_size
        depths = np.max([level.depths for level in levels], axis=0)
        self._depths = depths.clip(min=options.kept, max=gallery_size)
        self._blocks = self._plan()
        self._own = np.full(len(codes), -1)  # the label code of a query's own copy

    @property
    def rounds(self) -> int:
        """How many passes are needed, as far as is known."""
        return len(self._blocks) + 2 * any(len(level.unranked) for level in self.levels)

    def start(self, round: int) -> None:
        """Prepare for a pass."""
        self._chosen = self._queries_of(round)
        if round < len(self._blocks):
            self._lists = NearestLists(len(self._chosen), int(self._depths[self._chosen].max()))
        elif round == len(self._blocks):
            self._lists = NearestLists(len(self._chosen), 1)
        else:
            self._before = np.zeros(len(self._chosen), np.int64)
        rows = self._rows.embeddings
        is_whole = np.array_equal(self._chosen, np.arange(len(rows)))
        self._embeddings = widened(rows if is_whole else rows_at(rows, self._chosen))

    def scan(self, part: GalleryPart, round: int) -> None:
        """Compare the queries of this pass with a part of the gallery."""
        if len(self._chosen):
            budget = self._options.max_memory_bytes
            for piece in part.pieces(self._copy_bytes, budget):
                self._scan(piece, round)

    def _scan(self, part: GalleryPart, round: int) -> None:
        exclude = self._own_copies(part)
        relevant = round == len(self._blocks)  # the pass after the last block's
        if round <= len(self._blocks):
            found = self._best_relevant(part, exclude) if relevant else None
            found = found or self._search(part, exclude, only_relevant=relevant)
            self._lists.offer(found, part.ids, part.codes)
        else:
            self._before += self._count_before(part, exclude)

    def end(self, round: int) -> list[Finding]:
        """Finish a pass; return what it found, at each level."""
        if round < len(self._blocks):
            if self._options.scored:
                scores, rows = self._lists.scores, np.arange(len(self._chosen))
                distance = self._options.distance
                self._lists.scores = own_scores(distance, scores, self._embeddings, rows)
            own = self._own[self._chosen]
            found = [level.rank(self._chosen, own, self._lists) for level in self.levels]
            counted = np.any([level.has_relevant[self._chosen] for level in self.levels], axis=0)
            self.kept.add(self._chosen, counted, self._lists)
        elif round > len(self._blocks) and len(self._chosen):
            ends = np.cumsum([len(level.unranked) for level in self.levels])
            parts = zip(self.levels, np.split(self._before, ends[:-1]), strict=True)
            found = [level.put_ranks(before) for level, before in parts]
        else:
            found = [level.nothing() for level in self.levels]
        return found if round > 0 else with_lone(self.levels, found)

    def _plan(self) -> list[Ints]:
        """Return the queries of each pass: of similar depth, with room for their lists."""
        (queries,) = np.nonzero(np.any([level.most_relevant for level in self.levels], axis=0))
        queries = queries[np.argsort(self._depths[queries], kind="stable")]
        entry_bytes = list_entry_bytes(self._rows.ids)
        room = memory_budget(self._options.max_memory_bytes, self._codes) // 2
        blocks = []
        while len(queries):
            more = np.maximum.accumulate(self._left_out[queries])
            cost = self._depths[queries] * entry_bytes + more * _SEARCHED_BYTES
            cost += self._copy_bytes * self._rows.embeddings.shape[1]
            cost *= np.arange(1, len(queries) + 1)
            size = max(1, int(np.searchsorted(cost, room, side="right")))
            blocks.append(np.sort(queries[:size]))
            queries = queries[size:]
        return blocks

    def _queries_of(self, round: int) -> Ints:
        if round < len(self._blocks):
            return self._blocks[round]
        if round < self.rounds:
            return np.concatenate([level.unranked for level in self.levels])
        return np.zeros(0, np.int64)

    def _own_copies(self, part: GalleryPart) -> Ints:
        """Return the position of each query's own copy in the part, or -1; note its label.

        A copy in the query's group is left out with that.
        """
        if not self._options.leave_out_copies:
            return np.full(len(self._chosen), -1)
        positions = positions_of(self._rows.ids[self._chosen], part.ids)
        if self._groups is not None:
            inside = part.groups[positions] == self._groups[self._chosen]
            positions[inside] = -1
        (found,) = np.nonzero(positions >= 0)
        self._own[self._chosen[found]] = part.codes[positions[found]]
        return positions

    def _search(self, part: GalleryPart, exclude: Ints, *, only_relevant: bool) -> Neighbors:
        level_of = np.repeat(
            np.arange(len(self.levels)), [len(level.unranked) for level in self.levels]
        )

        def relevant(queries: slice, gallery: slice) -> Bools:
            chosen, levels = self._chosen[queries], level_of[queries]
            found = np.zeros((len(chosen), gallery.stop - gallery.start), np.bool_)
            for at in np.unique(levels):
                codes = self._codes[chosen[levels == at]]
                relevance = self.levels[at].relevance
                found[levels == at] = relevance.of_gallery(codes, part.codes[gallery])
            return found if outside is None else found & outside(queries, gallery)

        outside = self._outside(part)
        rows = self._embeddings, beside(part.embeddings, self._embeddings)
        options: dict[str, Any] = {
            "distance": self._options.distance,
            "exclude": exclude,
            "max_memory_bytes": half_of(self._options.max_memory_bytes),
        }
        if only_relevant:
            found = search(*rows, 1, allowed=relevant, **options)
        else:
            depth = int(self._depths[self._chosen].max())
            options["scored"] = self._options.scored or len(part.ids) < self._gallery_size
            if self._groups is not None:
                groups = self._groups[self._chosen], part.groups
                return search_outside(*rows, depth, *groups, **options)
            found = search(*rows, depth, **options)
        return Neighbors(*map(backend_of(*found).numpy, found))

    def _outside(self, part: GalleryPart) -> Callable[[slice, slice], Bools] | None:
        """Return what says which rows of a part are not in the queries' groups, if any are."""
        if self._groups is None:
            return None
        own, others = self._groups[self._chosen], part.groups
        return lambda queries, gallery: own[queries, None] != others[None, gallery]

    def _best_relevant(self, part: GalleryPart, exclude: Ints) -> Neighbors | None:
        """Return each query's nearest relevant row, if there are few of them to score."""
        listed, number, start = [], 0, 0
        for level in self.levels:
            pairs = level.relevance.pairs(self._codes[level.unranked], part.codes)
            number += pairs.number if pairs else 0
            if pairs is None or _LISTED_COST * number > len(self._chosen) * len(part.ids):
                return None
            listed.append((start, pairs))
            start += len(level.unranked)
        found = [(start + rows, at) for start, pairs in listed for rows, at in [pairs.listed()]]
        rows, positions = map(np.concatenate, zip(*found, strict=True))
        others = positions != exclude[rows]
        if self._groups is not None:
            others &= self._groups[self._chosen[rows]] != part.groups[positions]
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
            allowed=self._outside(part),
            max_memory_bytes=half_of(self._options.max_memory_bytes),
        )
        return backend_of(counts).numpy(counts)
