"""What rows rank by: a score of this package, or the value of any distance measure."""

from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt

from milepost.errors import UnknownNameError
from milepost.neighbors._backend import Array, Backend, backend_of
from milepost.neighbors._blocks import spans
from milepost.neighbors._distance_measure import DistanceMeasure
from milepost.neighbors._score import Distance, Scored, as_pair_of_rows, check_distance

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_CHUNK = 1 << 20  # numbers prepared at once
_MEASURES = {"l1": "LpDistance(p=1)", "lp": "LpDistance(p=...)", "snr": "SNRDistance()"}


@final
@dataclass(frozen=True)
class Values:
    """Scores that are the values of a measure; of a distance, minus them."""

    measure: DistanceMeasure

    def block(self, queries: Array, gallery: Array, backend: Backend) -> Array:
        """Return the scores of all pairs of prepared rows, float32 (Q, G)."""
        return self.measure.scores(self.measure._block(queries, gallery, backend))

    def pairs(self, queries: Array, gallery: Array, backend: Backend) -> Array:
        """Return the scores of prepared rows, pair by pair, float32 (P,)."""
        return self.measure.scores(self.measure._pairs(queries, gallery, backend))


AnyDistance: TypeAlias = Distance | DistanceMeasure | Values
"""What rows may rank by; rows that rank by `Values` are prepared already."""


def check_any_distance(distance: AnyDistance) -> None:
    """Raise an error unless this is a distance."""
    if isinstance(distance, DistanceMeasure | Values):
        return
    if isinstance(distance, str) and distance in _MEASURES:
        msg = f"unknown distance {distance!r}; pass {_MEASURES[distance]}, which is it"
        raise UnknownNameError(msg)
    check_distance(distance)


def ranked_rows(
    queries: Array, gallery: Array, distance: AnyDistance
) -> tuple[Array, Array, Scored, Backend]:
    """Return queries and gallery as float32 rows, what their scores are made of, and the backend.

    Memory: for a measure other than the cosine and the dot product, a copy of the rows.
    """
    check_any_distance(distance)
    is_same = queries is gallery
    queries, gallery, backend = as_pair_of_rows(queries, gallery)
    if not isinstance(distance, DistanceMeasure):
        return queries, gallery, distance, backend
    scored = distance.ranks_as or Values(distance)
    if scored in ("cosine", "dot"):
        return queries, gallery, scored, backend
    queries = distance.prepared(queries, backend)
    gallery = queries if is_same else distance.prepared(gallery, backend)
    return queries, gallery, scored, backend


def own_scores(distance: AnyDistance, scores: Floats, queries: Array, positions: Ints) -> Floats:
    """Return the scores by which rows ranked as those of their values, float32 (P, K), as NumPy.

    Args:
        distance: what they ranked by.
        scores: float32 (P, K).
        queries: shape (Q, d), converted to float32.
        positions: int64 (P,), the query of each row of scores.
    """
    if not isinstance(distance, DistanceMeasure) or distance.ranks_as is None:
        return scores
    backend = backend_of(queries)
    result = np.empty_like(scores)
    for some in spans(len(scores), max(1, _CHUNK // queries.shape[1])):
        rows = backend.rows32(backend.take(queries, backend.array(positions[some], like=queries)))
        own = backend.array(scores[some], like=rows)
        values = distance.values(own, distance.prepared(rows, backend), backend)
        result[some] = backend.numpy(distance.scores(values))
    return result
