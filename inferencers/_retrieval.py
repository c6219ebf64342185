"""Retrieval: how well the neighbours of a query in embedding space are of its kind."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple, final

import numpy as np

from milepost.inferencers._evidence import Over, weighted_class_means
from milepost.inferencers._inferencer import PairInferencer, Rows, State, Table
from milepost.inferencers._label_table import LabelTable
from milepost.inferencers._pair_rows import PairRows
from milepost.inferencers._query_passes import GalleryPart, QueryPasses, SearchOptions
from milepost.inferencers._ranking_metrics import Floats, ranking_metrics
from milepost.inferencers._relevance import Ints, Relevance, RelevantLabels
from milepost.neighbors import Distance, check_distance

_HALF = 2.0**26  # values are summed as two whole numbers of 26 bits: the same in any order
_CODE = "label_code"


@final
class Retrieval(PairInferencer):
    """Ranks the gallery for each query and measures where the relevant items are.

    Queries are the rows of role `query`; the gallery is the rows of role `gallery` or, where there
    are none, the queries themselves. A query leaves out its own copy, by id. Items rank by score,
    equal scores by id. R is the number of relevant items of a query besides its own copy; rel_i
    tells whether the item at rank i is relevant. A query with R = 0 is left out of all means and
    counted in `queries_without_relevant`; if every query is, the means are NaN.

    - `hit_rate@k`: 1 if any of rel_1 ... rel_k is (the Recall@K of metric-learning papers);
    - `recall@k`: sum of rel_1 ... rel_k over R; `precision@k`: over k;
    - `map@k`: sum over i <= k of rel_i x precision@i, over R; `map_min@k`: over min(k, R);
    - `map@r`: the same with k = R (Musgrave et al., ECCV 2020); `r_precision`: precision@R;
    - `mrr`: 1 / rank of the first relevant item, however far it is;
    - `ndcg@k`: sum over i <= k of rel_i / log2(i + 1), over that of min(k, R) items in front;
    - `knn_accuracy@k`: 1 if the label that most of the k nearest bear is relevant to the query; of
      labels with equally many, the one whose member is nearest.

    In a gallery of fewer than k items the ranks beyond it count as not relevant. The values agree
    with those of TREC and, at unlimited depth, of pytorch-metric-learning.

    The result does not depend on batch size, order, blocks, number of workers or device: scores
    are defined to the bit, and values are summed in units of 2^-52.

    Memory: a float32 copy of the embeddings, which stay where they are (in a memory-mapped file
    where they exceed a quarter of the budget); lists of
    max(k, R) neighbours a query and blocks of scores, both under `max_memory_bytes`.

    Args:
        embeddings: the output that holds embeddings, shape (N, d), computed with in float32.
        labels: the field that holds labels: integers, booleans, floats or strings, shape (N,), or
            rows of them, shape (N, C).
        k: depths, at least 1.
        metrics: names as above, without `@k` for each of `k`, or with a number such as `"map@100"`;
            None: all of them.
        distance: `"cosine"`, `"dot"` or `"l2"`.
        relevant: called with query labels (Q, 1) and gallery labels (1, G), or (Q, 1, C) and
            (1, G, C); gives bool (Q, G). It is called with different labels, not with all rows.
            None: equal labels are relevant.
        average: `"sample"`: means over queries; `"class"`: means over the queries of each label,
            then over labels.
        name: prefixes the metrics where two inferencers would log the same name.

    Raises:
        ValueError: `k` or `average` is none of these.
        UnknownNameError: a metric or the distance does not exist.

    Example:
        >>> retrieval = Retrieval(k=(1,), metrics=["hit_rate", "mrr"], distance="l2")
        >>> retrieval.update(
        ...     {
        ...         "id": np.arange(4),
        ...         "role": np.array(["query"] * 4),
        ...         "output": np.array([[0.0], [1.0], [3.0], [5.5]]),
        ...         "label": np.array(["a", "a", "b", "b"]),
        ...     }
        ... )
        >>> round = 0
        >>> while round < retrieval.rounds:
        ...     retrieval.start_round(round)
        ...     retrieval.scan(retrieval.rows(), round)
        ...     retrieval.end_round(round)
        ...     round += 1
        >>> retrieval.compute()
        {'hit_rate@1': 0.75, 'mrr': 0.875, 'queries_without_relevant': 0}
    """

    arrays: ClassVar[Literal["numpy", "native"]] = "native"

    def __init__(
        self,
        embeddings: str = "output",
        labels: str = "label",
        *,
        k: int | Sequence[int] = (1, 5, 10),
        metrics: str | Sequence[str] | None = None,
        distance: Distance = "cosine",
        relevant: RelevantLabels | None = None,
        average: Literal["sample", "class"] = "sample",
        name: str = "retrieval",
    ) -> None:
        depths = [k] if isinstance(k, int) else list(k)
        if not depths or any(type(each) is not int or each < 1 for each in depths):
            msg = f"`k` must be whole numbers of at least 1, got {k!r}"
            raise ValueError(msg)
        if average not in ("sample", "class"):
            msg = f"`average` must be 'sample' or 'class', got {average!r}"
            raise ValueError(msg)
        check_distance(distance)
        self.name = name
        self.fetches = (embeddings, labels)
        self._metrics = ranking_metrics(metrics, depths)
        self._distance, self._relevant, self._average = distance, relevant, average
        self.reset()

    def reset(self) -> None:
        self._collected = PairRows(*self.fetches)
        self._others: list[LabelTable] = []  # those of other workers
        self._passes: QueryPasses | None = None
        self._totals: _Totals | None = None  # of the round
        self._kept: list[_Totals] = []  # of the rounds before

    def update(self, rows: Rows) -> None:
        self._collected.add(rows, self.max_memory_bytes)
        self._passes = None

    def state(self) -> State:
        if self._totals is None:
            table = LabelTable.sum([self._collected.table(), *self._others])
            return {"labels": table.labels, "counts": table.counts}
        return self._totals._asdict()

    def merge(self, states: Sequence[State]) -> None:
        if self._totals is None:
            self._others += [LabelTable(**state) for state in states]
            self._passes = None
        else:
            self._totals = _add([self._totals, *(_Totals(**state) for state in states)])

    @property
    def rounds(self) -> int:
        passes = self._prepared()
        return max(1, passes.rounds) if self._table.counts[:, 0].any() else 0

    def rows(self) -> Rows:
        self._prepared()
        rows = self._collected.of(self._gallery)
        return {
            "id": rows.ids,
            "role": np.full(len(rows.ids), self._gallery),
            self.fetches[0]: rows.embeddings,
            _CODE: self._table.codes(rows.labels),
        }

    def start_round(self, round: int) -> None:
        self._prepared().start(round)
        if self._totals is not None:
            self._kept.append(self._totals)
        classes = len(self._table.labels) if self._average == "class" else 1
        shapes = (classes, len(self._metrics), 2), (classes, 2)
        self._totals = _Totals(*(np.zeros(shape, np.int64) for shape in shapes))

    def scan(self, part: Rows, round: int) -> None:
        rows = GalleryPart(part["id"], part[self.fetches[0]], part[_CODE])
        self._prepared().scan(rows, round)

    def end_round(self, round: int) -> None:
        passes = self._prepared()
        assert self._totals is not None
        found = passes.end(round)
        codes = self._codes if self._average == "class" else np.zeros_like(self._codes)
        np.add.at(self._totals.sums, codes[found.queries], _halves(found.values))
        has_relevant = passes.has_relevant[found.judged].astype(np.int64)
        np.add.at(self._totals.queries, (codes[found.judged], has_relevant), 1)

    def compute(self) -> Mapping[str, float]:
        if self._totals is None:
            return {}
        sums, queries = _add([*self._kept, self._totals])
        counted = queries[:, 1] > 0
        means = np.full(len(self._metrics), np.nan)
        if counted.any():
            totals = (sums[counted] / (_HALF, _HALF * _HALF)).sum(axis=-1)
            means = (totals / queries[counted, 1:]).mean(axis=0)
        names = (metric.name for metric in self._metrics)
        return {
            **dict(zip(names, means.tolist(), strict=True)),
            "queries_without_relevant": int(queries[:, 0].sum()),
        }

    def evidence(self) -> Mapping[str, Table]:
        """Return `"queries"`: each metric's value for this worker's queries, NaN where R = 0."""
        if self._passes is None:
            return {}
        queries = self._collected.of("query")
        columns = zip(self._metrics, self._passes.values.T, strict=True)
        values = {metric.name: column for metric, column in columns}
        return {"queries": {"id": queries.ids, "label": queries.labels, **values}}

    def resampled(
        self, tables: Mapping[str, Table], weights: Floats, over: Over
    ) -> Mapping[str, Floats]:
        if self._average == "class":
            return weighted_class_means(tables["queries"], weights, over)
        return super().resampled(tables, weights, over)

    def _prepared(self) -> QueryPasses:
        """Return the passes of this worker's queries, planned when totals are merged."""
        if self._passes is None:
            table = LabelTable.sum([self._collected.table(), *self._others])
            self._gallery = "gallery" if table.counts[:, 1].any() else "query"
            if self._gallery == "query":
                table = LabelTable(table.labels, table.counts[:, [0, 0]])
            queries = self._collected.of("query")
            self._table, self._codes = table, table.codes(queries.labels)
            copies = self.shared_ids or self._gallery == "query"
            self._passes = QueryPasses(
                queries,
                self._codes,
                Relevance(table, self._relevant),
                int(table.counts[:, 1].sum()),
                self._metrics,
                SearchOptions(self._distance, copies, self.max_memory_bytes),
            )
        return self._passes


class _Totals(NamedTuple):
    """Sums over queries; C is the number of labels for means over classes, else 1.

    Attributes:
        sums: int64 (C, M, 2), of the metrics, in units of 2^-26 and, for the rest, of 2^-52.
        queries: int64 (C, 2), how many have no relevant item, and how many have.
    """

    sums: Ints
    queries: Ints


def _halves(values: Floats) -> Ints:
    """Return values of 0 ... 1 in units of 2^-26 and, for the rest, of 2^-52."""
    scaled = values * _HALF
    upper = np.floor(scaled)
    return np.stack([upper, np.rint((scaled - upper) * _HALF)], axis=-1).astype(np.int64)


def _add(totals: Sequence[_Totals]) -> _Totals:
    return _Totals(*(np.sum(parts, axis=0) for parts in zip(*totals, strict=True)))
