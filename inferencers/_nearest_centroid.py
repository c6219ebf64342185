"""How often the nearest class centroid is that of a query's own class.

Q is the number of queries, C that of classes, d the dimension.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._centroids import Centroids
from milepost.inferencers._depths import as_depths
from milepost.inferencers._inferencer import PairInferencer, Rows, State, Table
from milepost.inferencers._label_table import LabelTable
from milepost.inferencers._pair_rows import ROLES, PairRows, positions_of, rows_at
from milepost.neighbors import (
    Array,
    Distance,
    backend_of,
    check_distance,
    count_before,
    nearest_listed,
)

Ints = npt.NDArray[np.int64]

_CODE = "label_code"
_BLOCK = 1 << 22  # numbers of the queries that are compared at once


@final
class NearestCentroid(PairInferencer):
    """The accuracy of the classifier that picks the class of the nearest centroid.

    The centroid of a class is the mean of its rows of role `gallery`, scaled to length 1 before for
    `"cosine"`. Where there are none, it is that of the queries, and a query leaves itself out of
    its own class's. With `shared_ids` a query leaves out its own copy in the gallery too.

    - `centroid_accuracy@k`: the share of queries whose class is among the k of the nearest
      centroids; of equally near ones the smaller label ranks first.

    A query whose class has no (other) row is left out and counted in `queries_without_relevant`; if
    every query is, the rest is NaN. The values are those of scikit-learn's `NearestCentroid`.

    The result does not depend on batch size, order, number of workers or device: centroids are
    exact sums of numbers rounded to 2^-61 of what those could reach.

    Memory: a float32 copy of the embeddings (in a memory-mapped file where they exceed a quarter
    of the budget), 24 C d bytes, of which each worker sends 8 C d to all others, and blocks.

    Args:
        embeddings: the output that holds embeddings, shape (N, d), computed with in float32.
        labels: the field that holds labels: integers, booleans, floats or strings, shape (N,), or
            rows of them, shape (N, C).
        k: depths, at least 1.
        distance: `"cosine"`, `"dot"` or `"l2"`.
        name: prefixes the metrics where two inferencers would log the same name.

    Raises:
        ValueError: `k` is empty or holds a number below 1.
        UnknownNameError: the distance does not exist.

    Example:
        >>> centroids = NearestCentroid(distance="l2")
        >>> centroids.update(
        ...     {
        ...         "id": np.arange(5),
        ...         "role": np.array(["query"] * 5),
        ...         "output": np.array([[0.0], [1.0], [5.0], [6.0], [2.0]]),
        ...         "label": np.array(["a", "a", "b", "b", "b"]),
        ...     }
        ... )
        >>> for round in range(centroids.rounds):
        ...     centroids.start_round(round)
        ...     centroids.scan(centroids.rows(), round)
        ...     centroids.end_round(round)
        >>> centroids.compute()
        {'centroid_accuracy@1': 0.8, 'queries_without_relevant': 0}
    """

    arrays: ClassVar[Literal["numpy", "native"]] = "native"

    def __init__(
        self,
        embeddings: str = "output",
        labels: str = "label",
        *,
        k: int | Sequence[int] = 1,
        distance: Distance = "cosine",
        name: str = "nearest_centroid",
    ) -> None:
        check_distance(distance)
        self.name = name
        self.fetches = (embeddings, labels)
        self._k, self._distance = as_depths(k), distance
        self.reset()

    def reset(self) -> None:
        self._collected = PairRows(self.fetches[0], self.fetches[1])
        self._others: list[LabelTable] = []
        self._largest = 0.0  # of the numbers in the rows of other workers
        self._centroids: Centroids | None = None
        self._ranks: Ints | None = None  # (Q,), from 1; 0 where there is no centroid of the class
        self._counts = np.zeros(
            2 + len(self._k), np.int64
        )  # of queries: ranked, not, within each k

    def update(self, rows: Rows) -> None:
        self._collected.add(rows, self.max_memory_bytes)

    def state(self) -> State:
        if self._ranks is not None:
            return {"counts": self._counts.copy()}
        if self._centroids is not None:
            return {"sums": self._centroids.sums.copy()}
        table = self._labels()
        return {"labels": table.labels, "counts": table.counts, "largest": self._reach()}

    def merge(self, states: Sequence[State]) -> None:
        for state in states:
            if self._ranks is not None:
                self._counts = self._counts + state["counts"]
            elif self._centroids is not None:
                self._centroids = self._centroids.plus(state["sums"])
            else:
                self._others.append(LabelTable(state["labels"], state["counts"]))
                self._largest = max(self._largest, state["largest"])

    @property
    def rounds(self) -> int:
        return 2 * bool(self._labels().counts[:, 0].any())

    def rows(self) -> Rows:
        """Return the gallery's rows in the last round if queries have copies there, else none."""
        rows = self._collected.of("gallery")
        some = slice(None) if self.shared_ids and self._ranks is not None else slice(0)
        return {
            "id": rows.ids[some],
            "role": np.full(len(rows.ids[some]), "gallery"),
            self.fetches[0]: rows.embeddings[some],
            _CODE: self._table.codes(rows.labels[some]),
        }

    def start_round(self, round: int) -> None:
        if round == 0:
            self._sum_up()
            return
        self._codes = self._table.codes(self._collected.of("query").labels)
        self._ranks = np.zeros(len(self._codes), np.int64)
        self._waiting = np.ones(len(self._codes), np.bool_)

    def scan(self, part: Rows, round: int) -> None:
        if round == 0:
            return
        positions = positions_of(self._collected.of("query").ids, part["id"])
        (copied,) = np.nonzero(positions >= 0)
        copied = copied[part[_CODE][positions[copied]] == self._codes[copied]]
        self._rank(copied, part[self.fetches[0]], positions)

    def end_round(self, round: int) -> None:
        if round == 0:
            return
        (queries,) = np.nonzero(self._waiting)
        if self._gallery == "query":
            self._rank(queries, self._collected.of("query").embeddings, np.arange(len(self._codes)))
        else:
            self._rank(queries)
        assert self._ranks is not None
        found = self._ranks > 0
        within = [(found & (self._ranks <= k)).sum() for k in self._k]
        self._counts = np.array([found.sum(), (~found).sum(), *within], np.int64)

    def compute(self) -> Mapping[str, float]:
        if self._ranks is None:
            return {}
        count, lone, *within = self._counts.tolist()
        shares = [each / count if count else math.nan for each in within]
        return {
            **dict(zip(self._names(), shares, strict=True)),
            "queries_without_relevant": lone,
        }

    def evidence(self) -> Mapping[str, Table]:
        """Return `"queries"`: label, rank of the own class, and whether it is among the k first."""
        if self._ranks is None:
            return {}
        queries, ranks = self._collected.of("query"), self._ranks
        ranked = np.where(ranks > 0, ranks, np.nan)
        within = [np.where(ranks > 0, ranks <= k, np.nan) for k in self._k]
        values = dict(zip(self._names(), within, strict=True))
        return {"queries": {"id": queries.ids, "label": queries.labels, "rank": ranked, **values}}

    def _names(self) -> list[str]:
        return [f"centroid_accuracy@{k}" for k in self._k]

    def _labels(self) -> LabelTable:
        return LabelTable.sum([self._collected.table(), *self._others])

    def _reach(self) -> float:
        """Return the largest number in the rows of all workers that are known of."""
        return max(self._largest, self._collected.extent()[1])

    def _sum_up(self) -> None:
        """Sum up this worker's rows of each class."""
        self._table = self._labels()
        self._gallery = "gallery" if self._table.counts[:, 1].any() else "query"
        rows = self._collected.of(self._gallery)
        self._centroids = Centroids.of(
            rows.embeddings,
            self._table.codes(rows.labels),
            self._table.counts[:, ROLES.index(self._gallery)],
            self._reach(),
            scaled=self._distance == "cosine",
        )

    def _rank(self, queries: Ints, left_out: Array | None = None, at: Ints | None = None) -> None:
        """Rank the own class of queries, which leave out rows that are at some positions."""
        assert self._centroids is not None
        assert self._ranks is not None
        self._waiting[queries] = False
        counts = self._centroids.counts
        (classes,) = np.nonzero(counts)
        queries = queries[counts[self._codes[queries]] > (left_out is not None)]
        if not len(queries):
            return
        embeddings, all_means = (
            self._collected.of("query").embeddings,
            self._centroids.means(classes),
        )
        for start in range(0, len(queries), step := max(1, _BLOCK // all_means.shape[1])):
            some = queries[start : start + step]
            mine = _numpy_at(embeddings, some)
            own, without = self._codes[some], None
            if left_out is not None and at is not None:
                without = self._centroids.fixed(_numpy_at(left_out, at[some]))
            each = np.arange(len(some))
            means = self._centroids.means(own, without)
            near = nearest_listed(mine, means, each, each, distance=self._distance)
            places = np.searchsorted(classes, own)
            before = count_before(
                mine,
                all_means,
                near.scores[:, 0],
                places,
                distance=self._distance,
                exclude=places,
                max_memory_bytes=self.max_memory_bytes,
            )
            self._ranks[some] = 1 + before


def _numpy_at(rows: Array, positions: Ints) -> npt.NDArray[np.float32]:
    return np.asarray(backend_of(rows).numpy(rows_at(rows, positions)))
