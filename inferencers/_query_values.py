"""The values of metrics for one worker's queries, from their lists of neighbours.

Q is the number of queries, M that of metrics.
"""

from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np

from milepost.inferencers._compared_labels import Bools, Floats, Ints, LeftOut
from milepost.inferencers._groups import Groups
from milepost.inferencers._nearest_lists import NearestLists
from milepost.inferencers._objects import LostObjects
from milepost.inferencers._ranking_metrics import Ranking, RankingMetric, Winner
from milepost.inferencers._relevance import Relevance

_RANKED = 1 << 18  # neighbours ranked at once: their temporary arrays stay in the cache


class Finding(NamedTuple):
    """What a pass over the gallery found.

    Attributes:
        queries: int64 (q,), the queries of the pass.
        values: float64 (q, M), the values found; 0 where it found none.
        judged: int64, the queries for which it is now known whether they have a relevant row.
    """

    queries: Ints
    values: Floats
    judged: Ints


@final
class QueryValues:
    """Finds the values of metrics at one level of labels.

    Memory: 8 Q M bytes for the values.

    Args:
        codes: int64 (Q,), the queries' label codes.
        relevance: which labels are relevant.
        metrics: what to find.
        winner: the label for which neighbours vote.
        groups: the groups that queries leave out, if there are any, and int64 (Q,), those that the
            queries are in.

    Attributes:
        relevance: as given.
        values: float64 (Q, M), NaN where not found yet or where nothing is relevant.
        has_relevant: bool (Q,), whether the gallery has a relevant row; known once it is ranked.
        most_relevant: int64 (Q,), how many gallery rows outside the query's group are relevant,
            its own copy among them.
        depths: int64 (Q,), how many neighbours the metrics look at.
        unranked: int64, the queries whose list holds no relevant row, if its rank is asked for.
    """

    def __init__(
        self,
        codes: Ints,
        relevance: Relevance,
        metrics: Sequence[RankingMetric],
        winner: Winner,
        groups: tuple[Groups, Ints] | None = None,
    ) -> None:
        self.relevance = relevance
        self.values = np.full((len(codes), len(metrics)), np.nan)
        self.has_relevant: Bools = np.zeros(len(codes), np.bool_)
        self.most_relevant = relevance.totals(codes)
        self._all_relevant = self.most_relevant == relevance.gallery_size
        if groups is not None:
            own = groups[0].relevant(relevance, codes, groups[1])
            self.most_relevant = self.most_relevant - own
        self.depths = np.full(len(codes), max([1, *(metric.k or 1 for metric in metrics)]))
        if any(metric.needs_r for metric in metrics):
            needed = np.maximum(self.depths, self.most_relevant)
            self.depths = np.where(self._all_relevant, self.depths, needed)
        self.unranked = np.zeros(0, np.int64)
        self._graded_depth = max([0, *(each.k or 0 for each in metrics if each.base == "ndcg")])
        self._codes, self._metrics, self._winner = codes, metrics, winner
        self._groups = groups

    def rank(
        self, queries: Ints, own: Ints, lists: NearestLists, lost: LostObjects | None = None
    ) -> Finding:
        """Find the values of queries.

        Args:
            queries: int64 (q,), which.
            own: int64 (q,), the label codes of their own copies, -1 where there is none.
            lists: their neighbours.
            lost: the objects that they leave out, where objects rank.
        """
        own_relevant = self.relevance.of_neighbors(self._codes[queries], own[:, None])
        relevant = self.most_relevant[queries] - own_relevant[:, 0]
        if lost is not None:
            relevant -= lost.relevant(self.relevance, self._codes[queries])
        (some,) = np.nonzero(relevant)
        self.has_relevant[queries[some]] = True
        step = min(self.relevance.step, max(1, _RANKED // max(1, lists.codes.shape[1])))
        for at in (some[start : start + step] for start in range(0, len(some), step)):
            left_out = self._left_out(queries, at, lost)
            ranking = self._ranking(queries[at], relevant[at], own[at], lists, at, left_out)
            self._put(queries[at], ranking)
        judged = queries[self.most_relevant[queries] > 0]
        return Finding(queries, np.nan_to_num(self.values[queries]), judged)

    def put_ranks(self, before: Ints) -> Finding:
        """Take how many rows rank before the first relevant one, for each of those unranked."""
        found = self.nothing()
        column = [metric.name for metric in self._metrics].index("mrr") if len(before) else 0
        values = np.zeros((len(before), len(self._metrics)))
        values[:, column] = self.values[self.unranked, column] = 1 / (1 + before)
        return found._replace(queries=self.unranked, values=values)

    def nothing(self) -> Finding:
        """Return what a pass found that found nothing."""
        nobody = np.zeros(0, np.int64)
        return Finding(nobody, np.zeros((0, len(self._metrics))), nobody)

    def _ranking(
        self,
        queries: Ints,
        relevant: Ints,
        own: Ints,
        lists: NearestLists,
        at: Ints,
        left_out: LeftOut | None,
    ) -> Ranking:
        compared = self.relevance.compared(self._codes[queries])
        neighbors, scores = self.relevance.codes(lists.codes[at]), lists.scores[at]
        gains = best = None
        if self.relevance.is_graded and self._graded_depth:
            gains = compared.gain(neighbors[:, : self._graded_depth])
            best = self.relevance.best_gains(compared, own, gains.shape[1], left_out)
        return Ranking(
            compared.relevance(neighbors),
            relevant,
            lambda k: compared.relevance(self._winner(neighbors, scores, k)[:, None])[:, 0],
            gains,
            best,
        )

    def _left_out(self, queries: Ints, at: Ints, lost: LostObjects | None) -> LeftOut | None:
        """Return what some of the queries leave out beside their own copies."""
        if lost is not None:
            return LeftOut(at, lambda some: lost.counts(self.relevance, some))
        if self._groups is None:
            return None
        groups, codes = self._groups
        return LeftOut(codes[queries[at]], lambda some: groups.counts(some, self.relevance))

    def _put(self, queries: Ints, ranking: Ranking) -> None:
        for column, metric in enumerate(self._metrics):
            self.values[queries, column] = metric.values(ranking)
            if metric.needs_r:  # no list of R rows is needed where all rows are relevant
                self.values[queries[self._all_relevant[queries]], column] = 1.0
            if metric.name == "mrr":
                unranked = queries[~ranking.relevance.any(axis=1)]
                self.values[unranked, column] = np.nan
                self.unranked = np.concatenate([self.unranked, unranked])


def with_lone(levels: Sequence[QueryValues], found: Sequence[Finding]) -> list[Finding]:
    """Return what the first pass found, with the queries of which it is known beforehand."""
    lone = [np.flatnonzero(level.most_relevant == 0) for level in levels]
    return [
        each._replace(judged=np.concatenate([each.judged, queries]))
        for each, queries in zip(found, lone, strict=True)
    ]
