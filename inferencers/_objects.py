"""Gallery objects of which there are several rows, their references.

Q is the number of queries of a pass, G that of gallery rows of a part, O that of objects.
"""

from typing import Any, Literal, NamedTuple, TypeAlias, final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._compared_labels import Bools, Ints
from milepost.inferencers._kind_table import KindTable
from milepost.inferencers._label_table import LabelTable
from milepost.inferencers._nearest_lists import NearestLists
from milepost.inferencers._relevance import Relevance
from milepost.neighbors import nearest_of

References: TypeAlias = Literal["max", "mean"]
Scores = npt.NDArray[np.float32]

_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
ENTRY_BYTES = 80  # of a query and an object: scores, counts, keys, and sorted lists of them


def check_references(references: References) -> References:
    """Return what the scores of an object's rows make; raise an error unless it is known."""
    if references not in ("max", "mean"):
        msg = f"`references` must be 'max' or 'mean', got {references!r}"
        raise ValueError(msg)
    return references


@final
class Objects:
    """The objects of the gallery.

    Args:
        kinds: the objects of the run, with their labels.
        table: the labels of the run.

    Attributes:
        ids: shape (O,), ascending.
        labels: int64 (O,), their label codes.

    Raises:
        ValueError: the rows of an object differ in label.
    """

    def __init__(self, kinds: KindTable, table: LabelTable) -> None:
        (gallery,) = np.nonzero(kinds.counts[:, 1])
        self.ids = kinds.columns[0][gallery]
        if self.ids.ndim > 1:
            msg = f"`objects` must have shape (N,), got {('N', *self.ids.shape[1:])}"
            raise ValueError(msg)
        (twice,) = np.nonzero(self.ids[1:] == self.ids[:-1])
        if len(twice):
            first, second = kinds.columns[1][gallery[twice[0] : twice[0] + 2]].tolist()
            msg = (
                "`objects` must name rows of one label, got "
                f"{first!r} and {second!r} for the object {self.ids[twice[0]].item()!r}"
            )
            raise ValueError(msg)
        self.labels = table.codes(kinds.columns[1][gallery])

    def table(self, table: LabelTable) -> LabelTable:
        """Return the labels of a run with the number of objects in the place of gallery rows."""
        counts = np.bincount(self.labels, minlength=len(table.labels))
        return LabelTable(table.labels, np.stack([table.counts[:, 0], counts], axis=1))

    def codes(self, values: npt.NDArray[Any]) -> Ints:
        """Return which object each of the gallery rows is of."""
        return np.searchsorted(self.ids, values) if len(values) else np.zeros(0, np.int64)


@final
class ObjectScores:
    """The scores of all objects for some queries, from those of rows, part by part.

    That of an object is the largest, or the mean, of the scores of its rows that are not left out.
    A sum is kept in two float64 numbers: it is exact, in any order, where the scores of an object
    spread over less than 2^70.

    Memory: 8 Q O bytes, 20 for means.

    Args:
        queries: Q.
        objects: O.
        references: `"max"` or `"mean"`.
    """

    def __init__(self, queries: int, objects: int, references: References) -> None:
        shape = queries, objects
        self._counts = np.zeros(shape, np.int32)
        self._is_mean = references == "mean"
        self._upper = np.zeros(shape) if self._is_mean else np.full(shape, -np.inf, np.float32)
        self._lower = np.zeros(shape if self._is_mean else (0, 0))

    def add(
        self,
        queries: slice,
        scores: Scores,
        objects: Ints,
        copies: tuple[Ints, Ints],
        inside: Bools | None = None,
    ) -> None:
        """Take the scores of some rows.

        Args:
            queries: which.
            scores: float32 (q, g), changed.
            objects: int64 (g,), ascending, the rows' objects.
            copies: the queries and the rows of pairs that do not count.
            inside: bool (q, g), other pairs that do not count, if there are any.
        """
        starts = np.flatnonzero(np.diff(objects, prepend=-1))
        sizes = np.diff(starts, append=len(objects))
        at = queries, objects[starts]
        counts = np.repeat(sizes[None, :].astype(np.int32), len(scores), axis=0)
        nothing = 0.0 if self._is_mean else -np.inf
        if inside is not None:
            inside[copies] = True
            counts -= np.add.reduceat(inside, starts, axis=1, dtype=np.int32)
            scores[inside] = nothing
        else:
            of_start = np.repeat(np.arange(len(starts)), sizes)
            np.subtract.at(counts, (copies[0], of_start[copies[1]]), 1)
            scores[copies] = nothing
        self._counts[at] += counts
        if self._is_mean:
            ranks = np.arange(len(objects)) - np.repeat(starts, sizes)
            for rank in range(int(sizes.max())):
                (columns,) = np.nonzero(ranks == rank)
                self._add_one(queries, objects[columns], scores[:, columns].astype(np.float64))
        else:
            best = np.maximum.reduceat(scores, starts, axis=1)
            self._upper[at] = np.maximum(self._upper[at], best)

    def _add_one(self, queries: slice, objects: Ints, scores: npt.NDArray[np.float64]) -> None:
        """Add one score of each of some objects."""
        old, new = self._upper[queries, objects], self._upper[queries, objects] + scores
        with np.errstate(invalid="ignore"):  # a score of minus infinity
            added = new - old
            self._lower[queries, objects] += (old - (new - added)) + (scores - added)
        self._upper[queries, objects] = new

    def lists(self, objects: Objects, depth: int) -> NearestLists:
        """Return the nearest objects of each query, by score and, of equals, by id."""
        found = nearest_of(self._final(), self._counts > 0, depth)
        lists = NearestLists(len(self._counts), depth)
        lists.offer(found, objects.ids, objects.labels)
        return lists

    def _final(self) -> Scores:
        """Return the scores of objects, (Q, O)."""
        if not self._is_mean:
            return self._upper.astype(np.float32, copy=False)
        with np.errstate(invalid="ignore", divide="ignore"):
            total = np.where(np.isfinite(self._upper), self._upper + self._lower, self._upper)
            return (total / self._counts).astype(np.float32) + np.float32(0.0)

    def lost(self, objects: Objects) -> "LostObjects":
        """Return the objects of which no row is left."""
        rows, columns = np.nonzero(self._counts == 0)
        return LostObjects(rows, objects.labels[columns])


class LostObjects(NamedTuple):
    """The objects that queries leave out, P pairs.

    Attributes:
        queries: int64 (P,), ascending.
        labels: int64 (P,), the objects' label codes.
    """

    queries: Ints
    labels: Ints

    def relevant(self, relevance: Relevance, codes: Ints) -> Ints:
        """Return how many of them are relevant to each query, given the queries' label codes."""
        found = relevance.of_neighbors(codes[self.queries], self.labels[:, None])[:, 0]
        return np.bincount(self.queries[found], minlength=len(codes))

    def counts(self, relevance: Relevance, queries: Ints) -> Ints:
        """Return how many of each of some queries bear each label of a level, (P, U)."""
        starts, stops = (np.searchsorted(self.queries, queries, side=x) for x in _SIDES)
        counts = np.zeros((len(queries), len(relevance.labels)), np.int64)
        for row, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            np.add.at(counts[row], relevance.codes(self.labels[start:stop]), 1)
        return counts
