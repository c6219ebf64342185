"""Retrieval: how well the neighbours of a query in embedding space are of its kind."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, final

from milepost.inferencers._depths import as_depths
from milepost.inferencers._evidence import Floats, Over
from milepost.inferencers._fields import as_fields
from milepost.inferencers._gallery_part import GalleryPart
from milepost.inferencers._inferencer import PairInferencer, Rows, State, Table
from milepost.inferencers._kept_neighbors import rescored
from milepost.inferencers._label_fields import LabelFields
from milepost.inferencers._label_sets import LabelSets
from milepost.inferencers._object_passes import ObjectPasses
from milepost.inferencers._objects import References, check_references
from milepost.inferencers._pair_rows import PairRows, Storage, check_storage
from milepost.inferencers._principal_axes import PrincipalAxes
from milepost.inferencers._query_passes import QueryPasses
from milepost.inferencers._ranking_metrics import ranking_metrics
from milepost.inferencers._relevance import Gain, RelevantLabels
from milepost.inferencers._retrieval_search import RetrievalSearch
from milepost.inferencers._retrieval_tables import (
    class_table,
    neighbor_table,
    query_table,
    resampled_class_means,
)
from milepost.inferencers._run_rows import CODE, EMBEDDINGS, GROUPS, OBJECTS, RunRows
from milepost.inferencers._run_totals import RunTotals
from milepost.inferencers._votes import Vote, check_vote
from milepost.neighbors import AnyDistance, check_any_distance


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
    - `ndcg@k`: sum over i <= k of g_i / log2(i + 1), over the same sum of the best ranking of the
      gallery; g_i is rel_i or what `gain` says;
    - `knn_accuracy@k`: 1 if the label for which the k nearest vote is relevant to the query; of
      labels with equally many votes, the one whose member is nearest.

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
            rows of them, shape (N, C); or several fields of shape (N,). Labels of several columns
            are equal if all columns are. `LabelSets` names a field of sets of any size.
        k: depths, at least 1.
        metrics: names as above, without `@k` for each of `k`, or with a number such as `"map@100"`;
            None: all of them.
        distance: `"cosine"`, `"dot"`, `"l2"`, or any distance or similarity, such as
            `LpDistance(p=1)` or `SNRDistance()`, of the query to a gallery row.
        relevant: called with query labels (Q, 1) and gallery labels (1, G), or (Q, 1, C) and
            (1, G, C), or structured arrays with the names of several fields; gives bool (Q, G). It
            is called with different labels, not with all rows. None: equal labels are relevant or,
            with `gain`, those that gain anything. `any_shared` is for sets of labels.
        gain: called in the same way; gives numbers of at least 0, the graded relevance of `ndcg@k`.
            None: 1 for relevant items.
        levels: whether each column of the labels is a level with results of its own, named
            `species/hit_rate@1` by the field or `level0/hit_rate@1` by the column; `relevant` and
            `gain` are then called with one column. One search serves all levels.
        group: a field, or several: a query leaves out the gallery rows that are equal to it in all
            of them (the same camera, sequence or document), and R counts what is left. That of
            `MatchRate` does another thing: it splits results.
        average: `"sample"`: means over queries; `"class"`: means over the queries of each label,
            then over labels.
        per_class: whether the means of each label are evidence; with `average="class"` they are.
        vote: how the k nearest vote: `"majority"`, one vote each; `"softmax"` or
            `SoftmaxVote(temperature)`, exp(score / temperature); `"distance"`, 1 / distance, and
            only those at distance 0 if there are any.
        neighbors: how many of a query's neighbours are evidence.
        objects: a field that says which object a gallery row shows; objects then rank, not rows,
            equal scores by object. All rows of an object bear one label. R, k and groups count
            objects; one with no row left, its own copy and its group left out, is left out.
        references: `"max"` or `"mean"`: what the scores of an object's rows make its score.
        pca: to how many dimensions embeddings are reduced first, along the principal axes of the
            gallery; None leaves them as they are.
        dtype: `"float32"`, or `"float16"` or `"bfloat16"` to keep the embeddings in half the
            memory; scores are those of the rounded embeddings.
        name: prefixes the metrics where two inferencers would log the same name.

    Raises:
        ValueError: an argument is none of these.
        UnknownNameError: a metric, the distance or the vote does not exist.

    Example:
        >>> import numpy as np
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
        labels: str | Sequence[str] | LabelSets = "label",
        *,
        k: int | Sequence[int] = (1, 5, 10),
        metrics: str | Sequence[str] | None = None,
        distance: AnyDistance = "cosine",
        relevant: RelevantLabels | None = None,
        gain: Gain | None = None,
        levels: bool = False,
        group: str | Sequence[str] | None = None,
        average: Literal["sample", "class"] = "sample",
        per_class: bool = False,
        vote: Vote = "majority",
        neighbors: int = 5,
        objects: str | None = None,
        references: References = "max",
        pca: int | None = None,
        dtype: Storage = "float32",
        name: str = "retrieval",
    ) -> None:
        if average not in ("sample", "class"):
            msg = f"`average` must be 'sample' or 'class', got {average!r}"
            raise ValueError(msg)
        if type(neighbors) is not int or neighbors < 0:
            msg = f"`neighbors` must be a whole number of at least 0, got {neighbors!r}"
            raise ValueError(msg)
        if pca is not None and (type(pca) is not int or pca < 1):
            msg = f"`pca` must be a whole number of at least 1, got {pca!r}"
            raise ValueError(msg)
        if references != "max" and objects is None:
            msg = f"`references` needs `objects`, the field whose rows they are, got {references!r}"
            raise ValueError(msg)
        check_any_distance(distance)
        check_vote(vote, distance)
        self.name = name
        self._labels = LabelFields(labels, relevant, gain, split=levels)
        self._group = () if group is None else as_fields("group", group)
        self._columns = (*self._group, *(() if objects is None else as_fields("objects", objects)))
        self.fetches = tuple(dict.fromkeys((embeddings, *self._labels.names, *self._columns)))
        self._metrics = ranking_metrics(metrics, as_depths(k))
        check_references(references)
        self._search = RetrievalSearch(self._metrics, distance, vote, references)
        self._average, self._per_class, self._neighbors = average, per_class, neighbors
        self._pca, self._objects, self._dtype = pca, objects, check_storage(dtype)
        self.reset()

    def reset(self) -> None:
        self._rows = RunRows(
            PairRows(self.fetches[0], self._labels.name, self._columns, self._dtype),
            has_groups=bool(self._group),
            has_objects=self._objects is not None,
            axes=None if self._pca is None else PrincipalAxes(self._pca),
        )
        self._passes: QueryPasses | ObjectPasses | None = None
        self._totals: RunTotals | None = None  # when rounds of search have begun

    def update(self, rows: Rows) -> None:
        labels = {self._labels.name: self._labels.read(rows)}
        self._rows.add({**rows, **labels}, self.max_memory_bytes)
        self._passes = None

    def state(self) -> State:
        return self._rows.state() if self._totals is None else self._totals.state()

    def merge(self, states: Sequence[State]) -> None:
        if self._totals is None:
            self._rows.merge(states)
            self._passes = None
        else:
            self._totals.merge(states)

    @property
    def rounds(self) -> int:
        if not self._rows.table.counts[:, 0].any():
            return 0
        passes = 0 if self._rows.needs_axes else self._prepared().rounds
        return self._rows.rounds + max(1, passes)

    def rows(self) -> Rows:
        return self._rows.part()

    def start_round(self, round: int) -> None:
        if round < self._rows.rounds:
            self._rows.add_up()
            return
        if self._rows.needs_axes:
            self._rows.reduce()
        self._prepared().start(round - self._rows.rounds)
        if self._totals is None:
            sizes = self._levels, self._rows.codes, len(self._metrics)
            self._totals = RunTotals(*sizes, by_class=self._by_class)
        self._totals.start_round()

    def scan(self, part: Rows, round: int) -> None:
        if round < self._rows.rounds:
            return
        columns = {name: part[name] for name in (GROUPS, OBJECTS) if name in part}
        rows = GalleryPart(part["id"], part[EMBEDDINGS], part[CODE], **columns)
        self._prepared().scan(rows, round - self._rows.rounds)

    def end_round(self, round: int) -> None:
        if self._totals is not None:
            passes = self._prepared()
            self._totals.add(passes.levels, passes.end(round - self._rows.rounds))

    def compute(self) -> Mapping[str, float]:
        if self._totals is None:
            return {}
        metrics: dict[str, float] = {}
        for level, totals in zip(self._levels, self._totals.of_levels(), strict=True):
            means = (totals if self._average == "class" else totals.together()).mean()
            names = [f"{level.prefix}{metric.name}" for metric in self._metrics]
            metrics |= zip(names, means.tolist(), strict=True)
            metrics[f"{level.prefix}queries_without_relevant"] = int(totals.queries[:, 0].sum())
        return metrics

    def evidence(self) -> Mapping[str, Table]:
        """Return tables; those of queries hold this worker's, `"classes"` those of all.

        - `"queries"`: id, label, group (where queries have one), and each metric's value, NaN
          where R = 0;
        - `"neighbors"`: id, rank from 1, and the neighbour's id (`neighbor`, or `object` where
          objects rank), label, score (minus the squared distance for l2) and relevance, for
          queries with R > 0;
        - `"classes"`: label, number of queries with and without relevant items, and means; a row
          for each label of each level.
        """
        if self._passes is None or self._totals is None:
            return {}
        rows, levels = self._rows.queries, self._levels
        names = [metric.name for metric in self._metrics]
        values, groups = self._passes.levels, self._rows.query_groups
        tables = {"queries": query_table(rows, groups, levels, values, names)}
        if self._options.kept:
            near = self._passes.kept.sorted()
            if not self._options.scored:
                near = rescored(near, rows, self._rows.gallery_rows, self._options.distance)
            labels, codes = self._rows.table.labels, self._rows.codes
            what: Literal["neighbor", "object"] = "object" if self._objects else "neighbor"
            near_by = neighbor_table(rows, codes, labels, levels, near, what=what)
            tables["neighbors"] = near_by
        if self._by_class:
            tables["classes"] = class_table(levels, self._totals.of_levels(), names)
        return tables

    def resampled(
        self, tables: Mapping[str, Table], weights: Floats, over: Over
    ) -> Mapping[str, Floats]:
        if self._average == "sample":
            return super().resampled(tables, weights, over)
        names = [metric.name for metric in self._metrics]
        return resampled_class_means(tables["queries"], self._levels, names, weights, over)

    @property
    def _by_class(self) -> bool:
        return self._per_class or self._average == "class"

    def _prepared(self) -> QueryPasses | ObjectPasses:
        """Return the passes of this worker's queries, planned when totals are merged."""
        if self._passes is None:
            self._levels = self._labels.levels(self._rows.table)
            self._options = self._search.options(
                self._rows,
                kept=self._neighbors if self.keep_evidence else 0,
                shared_ids=self.shared_ids,
                max_memory_bytes=self.max_memory_bytes,
            )
            self._passes = self._search.passes(self._rows, self._levels, self._options)
        return self._passes
