"""One worker's queries against the corpus, and the values of metrics for them.

Q is the number of queries, M that of metrics, K the length of their lists of documents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._gallery_part import half_of
from milepost.inferencers._inferencer import Table
from milepost.inferencers._judged_metrics import JudgedLists, JudgedMetric
from milepost.inferencers._judgements import Floats, Ints, Judgements
from milepost.inferencers._nearest_lists import NearestLists, list_entry_bytes
from milepost.inferencers._pair_rows import RoleRows, beside, positions_of
from milepost.neighbors import Array, Distance, Neighbors, backend_of, memory_budget, search

_RANKED = 1 << 18  # documents ranked at once: their temporary arrays stay in the cache


@dataclass(frozen=True)
class Documents:
    """A block of one worker's documents, sorted by id.

    Attributes:
        ids: shape (G,).
        embeddings: float32 (G, d).
        codes: int64 (G,), their codes in the judgements.
    """

    ids: npt.NDArray[Any]
    embeddings: Array
    codes: Ints


@dataclass(frozen=True)
class JudgedSearch:
    """How documents are searched and judged.

    Attributes:
        distance: what scores are made of.
        leave_out_copies: whether a document with a query's id is the query itself.
        max_memory_bytes: the budget; None: a quarter of what is available.
        least: the grade from which on a document is relevant.
        gain: gives what documents of some grades gain in NDCG.
        kept: how many documents of a query are kept.
    """

    distance: Distance
    leave_out_copies: bool
    max_memory_bytes: int | None
    least: float
    gain: Callable[[Floats], Floats]
    kept: int


class Found(NamedTuple):
    """What a pass found.

    Attributes:
        values: float64 (q, M), of the queries that have a relevant document.
        unjudged: how many queries have no judgement.
        lone: how many have judgements, but no relevant document.
    """

    values: Floats
    unjudged: int
    lone: int


@final
class JudgedQueries:
    """Finds the values of metrics for the queries of one worker, a block of them in each pass.

    Memory: half the budget for lists, half for blocks of scores; 8 Q M bytes for the values.

    Args:
        rows: the queries, sorted by id; their labels are their codes in the judgements.
        judgements: what is relevant to them.
        metrics: what to find.
        documents: the number of documents of all workers.
        how: how to search and to judge.

    Attributes:
        values: float64 (Q, M), NaN where not found yet or where nothing is relevant.
        rounds: how many passes are needed.
    """

    def __init__(
        self,
        rows: RoleRows,
        judgements: Judgements,
        metrics: Sequence[JudgedMetric],
        documents: int,
        how: JudgedSearch,
    ) -> None:
        self._rows, self._judgements, self._metrics, self._how = rows, judgements, metrics, how
        self._codes = rows.labels.astype(np.int64)
        self._relevant = judgements.relevant(how.least)[self._codes]
        self._documents = documents
        deepest = max([1, how.kept, *(metric.k or 1 for metric in metrics)])
        if any(metric.k is None for metric in metrics):
            deepest = max(deepest, int(self._relevant.max(initial=0)))
        self._deepest, self._depth = deepest, min(deepest, documents)
        self._step = self._block_size()
        self.rounds = -(-len(rows.ids) // self._step)
        self.values: Floats = np.full((len(rows.ids), len(metrics)), np.nan)
        self._kept: list[dict[str, npt.NDArray[Any]]] = []

    def start(self, round: int) -> None:
        """Prepare for a pass."""
        count = len(self._rows.ids)
        start = min(count, round * self._step)
        self._chosen = slice(start, min(count, start + self._step))
        self._lists = NearestLists(self._chosen.stop - start, self._depth)

    def scan(self, part: Documents) -> None:
        """Compare the queries of this pass with some documents."""
        ids = self._rows.ids[self._chosen]
        if not len(ids) or not len(part.ids):
            return
        queries = self._rows.embeddings[self._chosen]
        found = search(
            queries,
            beside(part.embeddings, queries),
            self._depth,
            distance=self._how.distance,
            exclude=positions_of(ids, part.ids) if self._how.leave_out_copies else None,
            scored=self._how.kept > 0 or len(part.ids) < self._documents,
            max_memory_bytes=half_of(self._how.max_memory_bytes),
        )
        found = Neighbors(*map(backend_of(*found).numpy, found))
        self._lists.offer(found, part.ids, part.codes)

    def end(self) -> Found:
        """Finish a pass; return what it found."""
        codes, relevant = self._codes[self._chosen], self._relevant[self._chosen]
        values = self.values[self._chosen]  # a view
        (some,) = np.nonzero(relevant)
        step = max(1, _RANKED // max(1, self._lists.codes.shape[1]))
        for at in (some[start : start + step] for start in range(0, len(some), step)):
            lists = self._judged(codes[at], relevant[at], self._lists.codes[at])
            values[at] = np.stack([metric.values(lists) for metric in self._metrics], axis=1)
        if self._how.kept and len(codes):
            self._keep(codes)
        unjudged = int((codes == len(self._judgements.queries)).sum())
        return Found(values[some], unjudged, len(codes) - len(some) - unjudged)

    def nearest(self) -> dict[str, Table]:
        """Return `"neighbors"`, the documents that are kept; nothing if none is."""
        names = self._kept[0] if self._kept else ()
        table = {name: np.concatenate([part[name] for part in self._kept]) for name in names}
        return {"neighbors": table} if table else {}

    def _block_size(self) -> int:
        """Return how many queries have room for their lists at once."""
        room = memory_budget(self._how.max_memory_bytes, self._codes) // 2
        return max(1, room // (list_entry_bytes(self._rows.ids) * max(1, self._depth)))

    def _judged(self, queries: Ints, relevant: Ints, documents: Ints) -> JudgedLists:
        missing = (0, 0), (0, self._deepest - documents.shape[1])
        documents = np.pad(documents, missing, constant_values=-1)
        grades = self._judgements.grades(queries, documents)
        best = self._judgements.best(queries, self._deepest)
        gain, least = self._how.gain, self._how.least
        return JudgedLists(grades, relevant, least, gain(np.nan_to_num(grades)), gain(best))

    def _keep(self, codes: Ints) -> None:
        near = self._lists.codes[:, : self._how.kept]
        grades = self._judgements.grades(codes, near)
        rows, columns = np.nonzero(near >= 0)
        self._kept.append(
            {
                "id": self._rows.ids[self._chosen][rows],
                "rank": columns + 1,
                "neighbor": self._lists.ids_at(rows, columns),
                "score": self._lists.scores[rows, columns],
                "grade": grades[rows, columns],
                "relevant": grades[rows, columns] >= self._how.least,
            }
        )
