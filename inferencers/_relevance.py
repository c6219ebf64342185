"""Which gallery labels are relevant to which query labels.

U is the number of different labels of a run, Q that of some queries, G and K those of rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._compared_labels import Bools, Compared, Floats, Ints, LeftOut
from milepost.inferencers._label_table import LabelTable

RelevantLabels: TypeAlias = Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[np.bool_]]
Gain: TypeAlias = Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]]

_PAIRS = 1 << 24  # bytes for label pairs that are compared at once
_LISTED_COST = 8  # of a pair of rows that bear a label, as a multiple of a product


@dataclass(frozen=True)
class RelevantPairs:
    """The pairs of queries and gallery rows of equal labels, not listed yet.

    Attributes:
        order: int64 (G,), the gallery rows sorted by label.
        starts: int64 (Q,), where in it the rows of a query's label start.
        counts: int64 (Q,), how many they are.
    """

    order: Ints
    starts: Ints
    counts: Ints

    @property
    def number(self) -> int:
        """The number of pairs."""
        return int(self.counts.sum())

    def listed(self) -> tuple[Ints, Ints]:
        """Return the query and the gallery row of each pair, in order of queries, int64 (P,)."""
        rows = np.repeat(np.arange(len(self.counts)), self.counts)
        ends = np.cumsum(self.counts)
        within = np.arange(self.number) - (ends - self.counts)[rows]
        return rows, self.order[self.starts[rows] + within]


@final
class Relevance:
    """Relevance of labels, which are given as codes: their positions in the table.

    Memory: blocks of 2^24 bytes for pairs of labels, or of one query label with all labels.

    Args:
        table: the labels of the run.
        relevant: gives bool (Q, G) for query labels (Q, 1) and gallery labels (1, G), each with a
            last axis more where labels are rows; None: labels with a gain are relevant or, without
            `gain`, equal labels.
        gain: gives numbers of at least 0 in the same way; None: relevant labels gain 1.
        codes_of: int64, the codes of the labels that callers mean by 0, 1, ...; None: the same.
    """

    def __init__(
        self,
        table: LabelTable,
        relevant: RelevantLabels | None,
        gain: Gain | None = None,
        codes_of: Ints | None = None,
    ) -> None:
        self.labels = table.labels
        self._counts = table.counts
        self._relevant, self._gain = relevant, gain
        self._codes_of = None if codes_of is None else np.append(codes_of, -1)
        self.is_equality = relevant is None and gain is None
        cost = (1 if gain is None else 8) * max(1, len(table.labels))
        self.step = 1 << 62 if self.is_equality else max(1, _PAIRS // cost)

    @property
    def is_graded(self) -> bool:
        """Whether relevant labels differ in gain."""
        return self._gain is not None

    @property
    def gallery_size(self) -> int:
        """How many gallery rows there are."""
        return int(self._counts[:, 1].sum())

    def codes(self, given: Ints) -> Ints:
        """Return the codes of labels here; -1 stays."""
        return given if self._codes_of is None else self._codes_of[given]

    def totals(self, queries: Ints) -> Ints:
        """Return how many gallery rows are relevant to each of the queries, (Q,)."""
        queries = self.codes(queries)
        if self.is_equality:
            return self._counts[:, 1][queries]
        totals = np.zeros(len(self.labels), np.int64)
        codes = np.unique(queries)
        for part in self._spans(codes):
            relevant, _ = self._tables(codes[part])
            totals[codes[part]] = relevant[:, :-1] @ self._counts[:, 1]
        return totals[queries]

    def of_neighbors(self, queries: Ints, neighbors: Ints) -> Bools:
        """Return which neighbours (Q, K) are relevant to queries (Q,); a neighbour -1 is not."""
        result = np.zeros(neighbors.shape, np.bool_)
        for part in self._spans(queries):
            result[part] = self.compared(queries[part]).relevance(self.codes(neighbors[part]))
        return result

    def of_gallery(self, queries: Ints, gallery: Ints) -> Bools:
        """Return which gallery rows (G,) are relevant to which queries (Q,), (Q, G)."""
        queries, gallery = self.codes(queries), self.codes(gallery)
        if self.is_equality:
            return np.asarray(queries[:, None] == gallery[None, :])
        codes, rows = np.unique(queries, return_inverse=True)
        labels, columns = np.unique(gallery, return_inverse=True)
        return self._compare(codes, labels)[0][rows][:, columns]

    def compared(self, queries: Ints) -> Compared:
        """Return some queries' labels, compared with all labels; at most `step` at once."""
        queries = self.codes(queries)
        if self.is_equality:
            return Compared(queries, queries[:0], None, None)
        codes, rows = np.unique(queries, return_inverse=True)
        return Compared(queries, rows, *self._tables(codes))

    def best_gains(
        self, compared: Compared, own: Ints, depth: int, left_out: LeftOut | None = None
    ) -> Floats:
        """Return the largest gains of each query's gallery, in descending order, (Q, depth)."""
        return compared.best_gains(self.codes(own), self._counts[:, 1], depth, left_out)

    def pairs(self, queries: Ints, gallery: Ints) -> RelevantPairs | None:
        """Return the relevant pairs of queries (Q,) and gallery rows (G,) of equal labels.

        Nothing if relevance is not that of equal labels.
        """
        if not self.is_equality:
            return None
        queries, gallery = self.codes(queries), self.codes(gallery)
        order = np.argsort(gallery, kind="stable")
        ranked = gallery[order]
        starts = np.searchsorted(ranked, queries, side="left")
        return RelevantPairs(order, starts, np.searchsorted(ranked, queries, side="right") - starts)

    def _spans(self, codes: Ints) -> Iterator[slice]:
        for start in range(0, len(codes), self.step):
            yield slice(start, start + self.step)

    def _tables(self, codes: Ints) -> tuple[Bools, Floats | None]:
        """Return the relevance and the gains of all labels to query labels, each (Q, U + 1)."""
        (gallery,) = np.nonzero(self._counts[:, 1])
        relevant, gains = self._compare(codes, gallery)
        shape = len(codes), len(self.labels) + 1
        tables = np.zeros(shape, np.bool_), None if gains is None else np.zeros(shape)
        for table, found in zip(tables, (relevant, gains), strict=True):
            if table is not None:  # a slice is filled at once
                table[:, slice(-1) if len(gallery) == len(self.labels) else gallery] = found
        return tables

    def _compare(self, codes: Ints, gallery: Ints) -> tuple[Bools, Floats | None]:
        """Return the relevance and the gains of gallery labels to query labels, each (Q, G)."""
        shape = len(codes), len(gallery)
        pair = self.labels[codes][:, None], self.labels[gallery][None, :]
        gains = None if self._gain is None else _as_gains(np.asarray(self._gain(*pair)), shape)
        if self._relevant is not None:
            return _as_relevant(np.asarray(self._relevant(*pair)), shape), gains
        assert gains is not None  # or equal labels are relevant
        return gains > 0, gains


def any_shared(query_labels: npt.NDArray[Any], gallery_labels: npt.NDArray[Any]) -> Bools:
    """Return whether any label is shared: `relevant` for sets of labels.

    Args:
        query_labels: shape (Q, 1, C): 1 in the columns of a row's labels, else 0 (multi-hot), as
            `LabelSets` makes it of sets.
        gallery_labels: shape (1, G, C).

    Example:
        >>> cat, dog, both = [1, 0, 0], [0, 1, 0], [1, 1, 0]
        >>> any_shared(np.array([[cat]]), np.array([[cat, dog, both]]))
        array([[ True, False,  True]])
    """
    if query_labels.ndim != 3:
        msg = (
            "`relevant=any_shared` needs rows of labels, one column a label, got labels of shape "
            f"{('N', *query_labels.shape[2:])}"
        )
        raise ValueError(msg)
    query, gallery = _flags(query_labels[:, 0]), _flags(gallery_labels[0])
    pairs = np.count_nonzero(query, axis=0) @ np.count_nonzero(gallery, axis=0)
    if _LISTED_COST * pairs > len(query) * gallery.size:
        return np.asarray(query.astype(np.float32) @ gallery.T.astype(np.float32) > 0)
    shared = np.zeros((len(query), len(gallery)), np.bool_)
    for queries, others in zip(_bearers(query), _bearers(gallery), strict=True):
        shared[queries[:, None], others] = True
    return shared


def _flags(labels: npt.NDArray[Any]) -> Bools:
    """Return labels of 0 and 1 as booleans."""
    flags: Bools = labels == 1
    wrong = labels[~flags & (labels != 0)] if labels.dtype != np.bool_ else labels[:0]
    if wrong.size:
        msg = (
            "`relevant=any_shared` needs labels of 0 and 1, one column a label (multi-hot), "
            f"got {wrong.tolist()[0]!r}; for sets there is `labels=LabelSets(...)`"
        )
        raise ValueError(msg)
    return flags


def _bearers(flags: Bools) -> list[Ints]:
    """Return the rows that bear each label."""
    rows, labels = np.nonzero(flags)
    order = np.argsort(labels, kind="stable")
    return np.split(rows[order], np.searchsorted(labels[order], np.arange(1, flags.shape[1])))


def _as_relevant(found: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[Any]:
    if found.dtype != np.bool_ or found.shape != shape:
        msg = (
            f"`relevant` must return bool of shape {shape} by broadcasting, "
            f"got {found.dtype} of shape {found.shape}"
        )
        raise ValueError(msg)
    return found


def _as_gains(found: npt.NDArray[Any], shape: tuple[int, int]) -> Floats:
    if found.dtype.kind not in "biuf" or found.shape != shape:
        msg = (
            f"`gain` must return numbers of shape {shape} by broadcasting, "
            f"got {found.dtype} of shape {found.shape}"
        )
        raise ValueError(msg)
    bad = ~((found >= 0) & (found < np.inf))
    if bad.any():
        msg = f"`gain` must return finite numbers of at least 0, got {found[bad][0]}"
        raise ValueError(msg)
    return found.astype(np.float64)
