"""Ranked retrieval: how well the nearest documents of a query are those judged relevant."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple, final

import numpy as np

from milepost.inferencers._depths import as_depths
from milepost.inferencers._inferencer import PairInferencer, Rows, State, Table
from milepost.inferencers._judged_metrics import judged_metrics
from milepost.inferencers._judged_queries import Documents, JudgedQueries, JudgedSearch
from milepost.inferencers._judgements import Floats, Given, Ints, Judgements
from milepost.inferencers._pair_rows import PairRows
from milepost.inferencers._scalar_stats import exact_sum
from milepost.neighbors import Distance, check_distance

_CODE = "document_code"
_GAINS: dict[str, Callable[[Floats], Floats]] = {
    "linear": lambda grades: grades.clip(min=0.0),
    "exponential": lambda grades: np.exp2(grades.clip(min=0.0)) - 1.0,
}


@final
class RankedRetrieval(PairInferencer):
    """Ranks a corpus for each query and measures where the documents judged relevant are.

    Queries are the rows of role `query`, the corpus those of role `gallery`; their ids, the field
    `"id"`, are those of the judgements, compared as strings. Documents rank by score, equal scores
    by id, ascending. A document is relevant from a grade on, and one without judgement is not. R
    is the number of documents that are relevant to a query, those among them that the corpus lacks
    included; rel_i tells whether the document at rank i is relevant.

    - `hit_rate@k`: 1 if any of rel_1 ... rel_k is (sentence-transformers' `accuracy@k`);
    - `recall@k`: sum of rel_1 ... rel_k over R; `precision@k`: over k;
    - `map@k`: sum over i <= k of rel_i x precision@i, over R; `map_min@k`: over min(k, R);
    - `mrr@k`: 1 / rank of the first relevant document, 0 where it is beyond k;
    - `map@r`: `map@k` with k = R; `r_precision`: precision@R;
    - `ndcg@k`: sum over i <= k of gain_i / log2(i + 1), over that of the best ranking of all
      judged documents;
    - `judged@k`: the share of k that documents with a judgement for the query make up.

    Queries without any judgement, and judged ones with R = 0, are left out of all means and
    counted in `queries_without_judgements` and `queries_without_relevant`; if no query is left, the
    means are NaN. Judgements of queries that the data lacks count nowhere.

    Values are those of trec_eval (`P`, `recall`, `map_cut`, `ndcg_cut`, `Rprec`, `success`), also
    through `pytrec_eval` and `ir_measures`, but that trec_eval settles ties by the id that comes
    last and counts a judged query with R = 0 as one of value 0; and of sentence-transformers'
    `InformationRetrievalEvaluator` (whose `map@k` is `map_min@k`).

    The result does not depend on batch size, order, blocks, number of workers or device.

    Memory: a float32 copy of the embeddings, which stay where they are (in a memory-mapped file
    where they exceed a quarter of the budget); lists of max(k, R) documents a query and blocks of
    scores, both under `max_memory_bytes`; 24 bytes a judgement.

    Args:
        embeddings: the output that holds embeddings, shape (N, d), computed with in float32.
        judgements: `{query id: {document id: grade}}`; `{query id: document ids}` of the relevant
            ones; or the path of a file in the form of TREC or BEIR.
        k: depths, at least 1.
        metrics: names as above, without `@k` for each of `k`, or with a number such as
            `"map@100"`; None: all of them.
        distance: `"cosine"`, `"dot"` or `"l2"`.
        relevant_grade: the grade from which on a document is relevant.
        gain: of a document in `ndcg@k`: its grade (`"linear"`), or 2^grade - 1
            (`"exponential"`); negative grades gain nothing.
        neighbors: how many documents a query evidence shows.
        name: prefixes the metrics where two inferencers would log the same name.

    Raises:
        ValueError: an argument is none of these, or judgements are not finite, not unique or none
            at all. In a run: no row has role `gallery`, or no query or no document has a judgement.
        UnknownNameError: a metric or the distance does not exist.

    Example:
        >>> ranked = RankedRetrieval(
        ...     judgements={"q": {"a": 2, "b": 1}}, k=2, metrics=["ndcg", "recall"], distance="dot"
        ... )
        >>> rows = {"id": np.array(["q"]), "role": np.array(["query"]), "output": np.ones((1, 1))}
        >>> ranked.update(rows)
        >>> ranked.update(
        ...     {
        ...         "id": np.array(["a", "b", "c"]),
        ...         "role": np.array(["gallery"] * 3),
        ...         "output": np.array([[2.0], [1.0], [3.0]]),
        ...     }
        ... )
        >>> ranked.start_round(0)
        >>> ranked.scan(ranked.rows(), 0)
        >>> ranked.end_round(0)
        >>> metrics = ranked.compute()
        >>> round(metrics["ndcg@2"], 6), metrics["recall@2"]
        (0.479625, 0.5)
    """

    arrays: ClassVar[Literal["numpy", "native"]] = "native"

    def __init__(
        self,
        embeddings: str = "output",
        *,
        judgements: Given,
        k: int | Sequence[int] = (1, 5, 10, 100),
        metrics: str | Sequence[str] | None = None,
        distance: Distance = "cosine",
        relevant_grade: float = 1,
        gain: Literal["linear", "exponential"] = "linear",
        neighbors: int = 5,
        name: str = "ranked_retrieval",
    ) -> None:
        if gain not in _GAINS:
            msg = f"`gain` must be 'linear' or 'exponential', got {gain!r}"
            raise ValueError(msg)
        if type(neighbors) is not int or neighbors < 0:
            msg = f"`neighbors` must be a whole number of at least 0, got {neighbors!r}"
            raise ValueError(msg)
        check_distance(distance)
        self.name = name
        self.fetches = (embeddings,)
        self._judgements = Judgements.of(judgements)
        self._metrics = judged_metrics(metrics, as_depths(k))
        self._distance, self._least, self._gain = distance, relevant_grade, _GAINS[gain]
        self._kept = neighbors
        self.reset()

    def reset(self) -> None:
        self._collected = PairRows(self.fetches[0], _CODE)
        self._others = np.zeros(4, np.int64)  # the rows of other workers
        self._passes: JudgedQueries | None = None
        self._totals: _Totals | None = None  # of the round
        self._done = _Totals([()] * len(self._metrics), np.zeros(3, np.int64))  # of those before

    def update(self, rows: Rows) -> None:
        ids, is_query = np.asarray(rows["id"]), np.asarray(rows["role"]) == "query"
        given = self._judgements
        codes = np.where(is_query, given.query_codes(ids), given.document_codes(ids))
        self._collected.add({**rows, _CODE: codes}, self.max_memory_bytes)
        self._passes = None

    def state(self) -> State:
        if self._totals is None:
            return {"rows": self._others + self._own_rows()}
        return self._totals._asdict()

    def merge(self, states: Sequence[State]) -> None:
        if self._totals is not None:
            self._totals = _add([self._totals, *(_Totals(**state) for state in states)])
            return
        self._others = np.sum([self._others, *(state["rows"] for state in states)], axis=0)
        self._passes = None

    @property
    def rounds(self) -> int:
        return self._prepared().rounds

    def rows(self) -> Rows:
        rows = self._collected.of("gallery")
        return {
            "id": rows.ids,
            "role": np.full(len(rows.ids), "gallery"),
            self.fetches[0]: rows.embeddings,
            _CODE: rows.labels,
        }

    def start_round(self, round: int) -> None:
        self._check_rows()
        self._prepared().start(round)
        if self._totals is not None:
            self._done = _add([self._done, self._totals])
        self._totals = _Totals([()] * len(self._metrics), np.zeros(3, np.int64))

    def scan(self, part: Rows, round: int) -> None:
        self._prepared().scan(Documents(part["id"], part[self.fetches[0]], part[_CODE]))

    def end_round(self, round: int) -> None:
        found = self._prepared().end()
        counts = len(found.values), found.unjudged, found.lone
        sums = [exact_sum(column.tolist()) for column in found.values.T]
        self._totals = _Totals(sums, np.array(counts, np.int64))

    def compute(self) -> Mapping[str, float]:
        if self._totals is None:
            return {}
        sums, queries = _add([self._done, self._totals])
        count, unjudged, lone = queries.tolist()
        means = [math.fsum(parts) / count if count else math.nan for parts in sums]
        return {
            **{metric.name: mean for metric, mean in zip(self._metrics, means, strict=True)},
            "queries_without_judgements": unjudged,
            "queries_without_relevant": lone,
        }

    def evidence(self) -> Mapping[str, Table]:
        """Return what lies behind the means, for this worker's queries.

        `"queries"`: the value of each metric, NaN where the query is left out; `"neighbors"`: the
        first documents, with rank, score, grade (NaN without judgement) and whether relevant.
        """
        if self._totals is None:
            return {}
        passes = self._prepared()
        names = [metric.name for metric in self._metrics]
        values = dict(zip(names, passes.values.T, strict=True))
        queries = {"id": self._collected.of("query").ids, **values}
        return {"queries": queries, **passes.nearest()}

    def _own_rows(self) -> Ints:
        """Return how many queries and documents this worker has, and how many are judged."""
        queries, documents = (self._collected.of(role) for role in ("query", "gallery"))
        judged = (queries.labels < len(self._judgements.queries)).sum()
        known = (documents.labels < len(self._judgements.documents)).sum()
        return np.array([len(queries.ids), len(documents.ids), judged, known], np.int64)

    def _check_rows(self) -> None:
        """Raise unless the run has a corpus, and queries and documents that were judged."""
        _, documents, judged, known = self._others + self._own_rows()
        if not documents:
            msg = (
                "a corpus must be there, got no rows of role 'gallery'; pass "
                'data={"query": ..., "gallery": ...}'
            )
            raise ValueError(msg)
        for kind, role, count, given in (
            ("queries", "query", judged, self._judgements.queries),
            ("documents", "gallery", known, self._judgements.documents),
        ):
            if not count:
                ids = self._collected.of(role).ids[:3].tolist()
                msg = (
                    f"`judgements` must have some for the {kind}, got none: the ids of {kind} are "
                    f"such as {ids}, and those judged such as {given[:3].tolist()}; give the rows "
                    'a field "id"'
                )
                raise ValueError(msg)

    def _prepared(self) -> JudgedQueries:
        """Return the passes of this worker's queries, planned when totals are merged."""
        if self._passes is None:
            given = self._judgements
            self._passes = JudgedQueries(
                self._collected.of("query"),
                given.without_copies() if self.shared_ids else given,
                self._metrics,
                int((self._others + self._own_rows())[1]),
                JudgedSearch(
                    self._distance,
                    self.shared_ids,
                    self.max_memory_bytes,
                    self._least,
                    self._gain,
                    self._kept if self.keep_evidence else 0,
                ),
            )
        return self._passes


class _Totals(NamedTuple):
    """Sums over queries.

    Attributes:
        sums: of each metric, as floats with that exact sum.
        queries: int64 (3,), how many count, have no judgement, and have no relevant document.
    """

    sums: list[tuple[float, ...]]
    queries: Ints


def _add(totals: Sequence[_Totals]) -> _Totals:
    sums = zip(*(each.sums for each in totals), strict=True)
    added = [exact_sum([part for parts in column for part in parts]) for column in sums]
    return _Totals(added, np.sum([each.queries for each in totals], axis=0))
