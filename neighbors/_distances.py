"""The distances and similarities of embeddings; x and y are the two embeddings of a pair, float32.

With `normalize_embeddings` rows are first scaled to length 1 and rounded to float32; a row of
zeros stays one.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._blocks import spans
from milepost.neighbors._distance_measure import DistanceMeasure
from milepost.neighbors._lp import lp_norm, power
from milepost.neighbors._score import Distance, score_block, tree_scores, tree_sum
from milepost.neighbors._sure import Decisions, decisions


class _Similarity(DistanceMeasure):
    """The score of `pair_scores` itself, which is defined to the bit in both forms."""

    is_inverted = True

    def _block(self, query: Array, ref: Array, backend: Backend) -> Array:
        return score_block(query, ref, self._score, backend)

    def _pairs(self, x: Array, y: Array, backend: Backend) -> Array:
        return tree_scores(x, y, self._score, backend)

    def _decisions(
        self, query: Array, ref: Array, threshold: float, backend: Backend
    ) -> Decisions | None:
        return decisions(query, ref, threshold, 0.0, self._score, backend)

    @property
    def ranks_as(self) -> Distance:
        return self._score

    @property
    def _score(self) -> Distance:
        return "cosine" if self.normalize_embeddings else "dot"


@final
@dataclass(frozen=True)
class CosineSimilarity(_Similarity):
    """The cosine of the angle between x and y; larger is closer.

    A vector of zeros has cosine 0 with every vector, itself included.

    Example:
        >>> CosineSimilarity().matrix(np.array([[3.0, 4.0]]), np.array([[0.0, 2.0], [0.0, 0.0]]))
        array([[0.8, 0. ]], dtype=float32)
    """

    normalize_embeddings: ClassVar[bool] = True  # type: ignore[misc]


@final
@dataclass(frozen=True, kw_only=True)
class DotProductSimilarity(_Similarity):
    """The dot product of x and y; larger is closer. With normalisation it is the cosine.

    Example:
        >>> DotProductSimilarity().pairwise(np.array([[3.0, 4.0]]), np.array([[1.0, 2.0]]))
        array([11.], dtype=float32)
    """

    normalize_embeddings: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class LpDistance(DistanceMeasure):
    """The distance (sum of |x_i - y_i|^p)^(1/p), raised to a power; p = infinity: the largest.

    With normalisation every row is divided by its own Lp norm. With p = 2 it is made of the squared
    distance in float32, as `search` is, so that differences below 1e-22 count as 0 and distances
    above 1e19 as infinite. A vector of zeros is like any other; normalised, it is at distance 0
    from itself and 1 from the rest.

    Args:
        p: at least 1; infinity too.
        power: above 0; 2 with p = 2 gives the squared Euclidean distance.
        normalize_embeddings: whether rows are scaled to Lp norm 1 first.

    Raises:
        ValueError: p or the power is out of range.

    Example:
        >>> LpDistance(p=1, normalize_embeddings=False).matrix(np.eye(2), np.array([[3.0, 0.0]]))
        array([[2.],
               [4.]], dtype=float32)
    """

    p: float = 2
    power: float = 1
    normalize_embeddings: bool = True

    def __post_init__(self) -> None:
        if not self.p >= 1:
            msg = f"`p` must be at least 1, got {self.p}"
            raise ValueError(msg)
        if not 0 < self.power < math.inf:
            msg = f"`power` must be above 0 and finite, got {self.power}"
            raise ValueError(msg)

    @property
    def ranks_as(self) -> Distance | None:
        return "l2" if self.p == 2 else None

    def values(self, scores: Array, query: Array, backend: Backend) -> Array:
        return self._of_score(scores, backend) if self.p == 2 else self.scores(scores)

    def _prepare(self, x: Array, backend: Backend) -> Array:
        if self.p == 2 or not self.normalize_embeddings:
            return super()._prepare(x, backend)
        rows = backend.float64(x)
        norms = lp_norm(abs(rows), self.p, backend)
        norms[norms == 0] = 1.0
        return backend.round32(rows / norms[:, None])

    def _block(self, query: Array, ref: Array, backend: Backend) -> Array:
        if self.p == 2:
            return self._of_score(score_block(query, ref, "l2", backend), backend)
        result = backend.array(np.empty((len(query), len(ref)), np.float32), like=query)
        side = max(1, math.isqrt(2 * backend.tile_pairs(query) // query.shape[1]))
        for rows in spans(len(query), side):
            for columns in spans(len(ref), side):
                pair = query[rows][:, None, :], ref[columns][None, :, :]
                result[rows, columns] = self._pairs(*pair, backend)
        return result

    def _pairs(self, x: Array, y: Array, backend: Backend) -> Array:
        if self.p == 2:
            return self._of_score(tree_scores(x, y, "l2", backend), backend)
        norm = lp_norm(abs(backend.float64(x) - backend.float64(y)), self.p, backend)
        return backend.round32(power(norm, self.power, backend))

    def _decisions(
        self, query: Array, ref: Array, threshold: float, backend: Backend
    ) -> Decisions | None:
        if self.p != 2 or not 2.0**-100 < threshold < 2.0**100 or self.power < 2.0**-10:
            return None
        square = math.exp2(min(200.0, 2 / self.power * math.log2(threshold)))
        slack = square * (1 + 2 / self.power) * 2.0**-20  # the rounding of squares and of values
        return decisions(query, ref, -square, slack, "l2", backend)

    def _of_score(self, scores: Array, backend: Backend) -> Array:
        squares = 0.0 - backend.float64(scores)
        return backend.round32(power(squares, self.power / 2, backend))


@final
@dataclass(frozen=True, kw_only=True)
class SNRDistance(DistanceMeasure):
    """The variance of x - y over that of x, which is the anchor: noise over signal.

    Each row is centred on its own mean and rounded to float32 first; the value is then
    |x - y|^2 / |x|^2, with the squared distance in float32, as for `search`. Where x is constant
    (zeros, for one) the value is infinite, or 0 if y is constant too. Source: Yuan et al., "Signal-
    to-Noise Ratio: A Robust Distance Metric for Deep Metric Learning", CVPR 2019.

    Raises:
        ValueError: from `matrix` and `pairwise`, if d is 1: one number has no variance.

    Example:
        >>> SNRDistance().pairwise(np.array([[3.0, -3.0]]), np.array([[1.0, 1.0]]))
        array([1.], dtype=float32)
    """

    is_symmetric: ClassVar[bool] = False
    normalize_embeddings: bool = True

    @property
    def ranks_as(self) -> Distance:
        return "l2"  # the signal is that of the query

    def values(self, scores: Array, query: Array, backend: Backend) -> Array:
        return _noise_over_signal(scores, query, backend)

    def _prepare(self, x: Array, backend: Backend) -> Array:
        if x.shape[1] == 1:
            msg = "`SNRDistance` compares rows of at least 2 numbers, got rows of 1"
            raise ValueError(msg)
        rows = backend.float64(super()._prepare(x, backend))
        mean = tree_sum(backend.copy(rows)) / x.shape[1]
        return backend.round32(rows - mean[:, None])

    def _block(self, query: Array, ref: Array, backend: Backend) -> Array:
        scores = score_block(query, ref, "l2", backend)
        return _noise_over_signal(scores, query, backend)

    def _pairs(self, x: Array, y: Array, backend: Backend) -> Array:
        scores = tree_scores(x, y, "l2", backend)
        return _noise_over_signal(scores[:, None], x, backend)[:, 0]


def _noise_over_signal(scores: Array, anchors: Array, backend: Backend) -> Array:
    signal = backend.float64(anchors)
    signal = tree_sum(signal * signal)
    signal[signal == 0] = 2.0**-1000  # noise over it rounds to infinity, no noise to 0
    return backend.round32((0.0 - backend.float64(scores)) / signal[:, None])
