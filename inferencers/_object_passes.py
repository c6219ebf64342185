"""One worker's queries in their passes over the gallery, where objects of several rows rank."""

from collections.abc import Sequence
from typing import final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._compared_labels import Ints
from milepost.inferencers._gallery_part import GalleryPart, SearchOptions, half_of, spans, widened
from milepost.inferencers._kept_neighbors import KeptNeighbors
from milepost.inferencers._objects import ENTRY_BYTES, Objects, ObjectScores, References
from milepost.inferencers._pair_rows import RoleRows, beside, positions_of, rows_at
from milepost.inferencers._query_values import Finding, QueryValues, with_lone
from milepost.neighbors import Array, DistanceMeasure, backend_of, memory_budget, pair_scores

_QUERIES, _ROWS = 256, 4096  # compared at once


@final
class ObjectPasses:
    """Finds the values of metrics for the queries of one worker, over objects.

    All pairs of queries and rows are scored. Memory: half the budget for the scores of objects, as
    many queries in a pass as have room, half for blocks of scores of rows.

    Args:
        rows: the queries, sorted by id.
        levels: their values, at each level of labels.
        objects: those of the gallery.
        references: what the scores of an object's rows make.
        options: how to search.
        groups: int64 (Q,), the groups that the queries are in, if there are any.
        whole: whether metrics look at all objects, not only at the nearest.

    Attributes:
        levels: as given.
        kept: the first neighbours of queries.
    """

    def __init__(
        self,
        rows: RoleRows,
        levels: Sequence[QueryValues],
        objects: Objects,
        references: References,
        options: SearchOptions,
        groups: Ints | None,
        *,
        whole: bool,
    ) -> None:
        self.levels = levels
        self.kept = KeptNeighbors(options.kept)
        self._rows, self._objects, self._references = rows, objects, references
        self._options, self._groups, self._whole = options, groups, whole
        (queries,) = np.nonzero(np.any([level.most_relevant for level in levels], axis=0))
        cost = ENTRY_BYTES * len(objects.ids) + 8 * rows.embeddings.shape[1]
        room = memory_budget(options.max_memory_bytes, queries) // 2
        self._blocks = [queries[s] for s in spans(len(queries), max(1, room // max(1, cost)))]

    @property
    def rounds(self) -> int:
        """How many passes are needed."""
        return len(self._blocks)

    def start(self, round: int) -> None:
        """Prepare for a pass."""
        self._chosen = self._blocks[round] if round < len(self._blocks) else np.zeros(0, np.int64)
        self._embeddings = widened(rows_at(self._rows.embeddings, self._chosen))
        self._scores = ObjectScores(len(self._chosen), len(self._objects.ids), self._references)

    def scan(self, part: GalleryPart, round: int) -> None:
        """Compare the queries of this pass with a part of the gallery."""
        copy_bytes = 4 + self._options.copy_bytes(part.embeddings)
        for piece in part.pieces(copy_bytes, self._options.max_memory_bytes):
            if len(self._chosen):
                self._scan(piece)

    def end(self, round: int) -> list[Finding]:
        """Finish a pass; return what it found, at each level."""
        found = [level.nothing() for level in self.levels]
        if len(self._chosen):
            depths = [level.depths[self._chosen].max() for level in self.levels]
            depth = len(self._objects.ids) if self._whole else max(self._options.kept, *depths)
            lists, lost = (
                self._scores.lists(self._objects, int(depth)),
                self._scores.lost(self._objects),
            )
            nobody = np.full(len(self._chosen), -1)
            found = [level.rank(self._chosen, nobody, lists, lost) for level in self.levels]
            counted = np.any([level.has_relevant[self._chosen] for level in self.levels], axis=0)
            self.kept.add(self._chosen, counted, lists)
        return found if round > 0 else with_lone(self.levels, found)

    def _scan(self, part: GalleryPart) -> None:
        order = np.argsort(part.objects, kind="stable")
        others = rows_at(beside(part.embeddings, self._embeddings), order)
        own = self._own_copies(part, order)
        for rows in spans(len(self._chosen), _QUERIES):
            for columns in spans(len(order), _ROWS):
                at = order[columns]
                column = own[rows] - columns.start
                (row,) = np.nonzero((column >= 0) & (column < len(at)))
                inside = None
                if self._groups is not None:
                    inside = self._groups[self._chosen[rows], None] == part.groups[None, at]
                scores = self._pairs(self._embeddings[rows], others[columns])
                copies = row, column[row]
                self._scores.add(rows, scores, part.objects[at], copies, inside)

    def _pairs(self, queries: Array, gallery: Array) -> npt.NDArray[np.float32]:
        """Return the scores of all pairs of rows; those of a measure are its values."""
        distance = self._options.distance
        if isinstance(distance, DistanceMeasure):
            scores = distance.scores(distance.matrix(queries, gallery))
        else:
            half = half_of(self._options.max_memory_bytes)
            scores = pair_scores(queries, gallery, distance=distance, max_memory_bytes=half)
        return np.asarray(backend_of(scores).numpy(scores))

    def _own_copies(self, part: GalleryPart, order: Ints) -> Ints:
        """Return where in an order of a part each query's own copy is, or -1."""
        if not self._options.leave_out_copies:
            return np.full(len(self._chosen), -1)
        places = np.append(np.argsort(order), -1)
        return places[positions_of(self._rows.ids[self._chosen], part.ids)]
