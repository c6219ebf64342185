"""How the queries of a retrieval are searched for, and what is made of what they find."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from milepost.inferencers._gallery_part import SearchOptions
from milepost.inferencers._levels import Level
from milepost.inferencers._object_passes import ObjectPasses
from milepost.inferencers._objects import References
from milepost.inferencers._query_passes import QueryPasses
from milepost.inferencers._query_values import QueryValues
from milepost.inferencers._ranking_metrics import RankingMetric
from milepost.inferencers._run_rows import RunRows
from milepost.inferencers._votes import Vote, winner
from milepost.neighbors import AnyDistance


@dataclass(frozen=True)
class RetrievalSearch:
    """Plans the passes of one worker's queries, once totals are merged.

    Attributes:
        metrics: what to find.
        distance: what scores are made of.
        vote: how neighbours vote.
        references: what the scores of an object's rows make its score, where objects rank.
    """

    metrics: Sequence[RankingMetric]
    distance: AnyDistance
    vote: Vote
    references: References

    def options(
        self, rows: RunRows, *, kept: int, shared_ids: bool, max_memory_bytes: int | None
    ) -> SearchOptions:
        """Return how to search: neighbours that lie here are scored once they are evidence."""
        here = len(rows.gallery_rows.ids) == rows.gallery_size and rows.objects is None
        return SearchOptions(
            self.distance,
            shared_ids or rows.gallery == "query",
            max_memory_bytes,
            scored=self.vote != "majority" or (kept > 0 and not here),
            kept=kept,
        )

    def passes(
        self, rows: RunRows, levels: Sequence[Level], options: SearchOptions
    ) -> QueryPasses | ObjectPasses:
        """Return the passes over the gallery."""
        groups = None if rows.objects else rows.groups
        vote = partial(winner, self.vote, self.distance)
        values = [
            QueryValues(rows.codes, level.relevance, self.metrics, vote, groups) for level in levels
        ]
        if rows.objects:
            own = rows.groups[1] if rows.groups else None
            whole = any(metric.name == "mrr" for metric in self.metrics)
            how = rows.objects, self.references, options, own
            return ObjectPasses(rows.queries, values, *how, whole=whole)
        return QueryPasses(rows.queries, rows.codes, values, rows.gallery_size, options, groups)
