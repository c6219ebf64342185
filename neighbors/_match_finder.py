"""Pairs of embeddings that match: those whose distance meets a threshold."""

from collections.abc import Iterator
from typing import Any, final

import numpy as np
import numpy.typing as npt

from milepost.neighbors._backend import Array, backend_of
from milepost.neighbors._calibration import Calibration, LabelledRows, fit, measure
from milepost.neighbors._distance_measure import (
    DistanceMeasure,
    as_two_matrices,
    match_blocks,
    value_blocks,
)
from milepost.neighbors._distances import CosineSimilarity

Matches = npt.NDArray[np.bool_]


@final
class MatchFinder:
    """Decides by a threshold which pairs of embeddings match.

    A pair matches if its value is at least the threshold where the distance is inverted (larger is
    closer), else at most; the threshold is rounded to float32, as values are. Every method decides
    a pair alike, since its value does not depend on other pairs. Decisions are NumPy arrays,
    whatever the embeddings are.

    Args:
        distance: what is compared; None: `CosineSimilarity()`.
        threshold: used where a call gives none.

    Raises:
        TypeError: the distance is no `DistanceMeasure`.
        ValueError: the threshold is NaN.

    Example:
        >>> finder = MatchFinder(CosineSimilarity(), threshold=0.9)
        >>> finder.get_matching_pairs(np.array([[1, 0], [5, 1], [0, 2]]), return_tuples=True)
        [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)]
        >>> finder.is_match(np.array([1, 0]), np.array([5, 1]))
        True
    """

    def __init__(
        self, distance: DistanceMeasure | None = None, threshold: float | None = None
    ) -> None:
        self.distance = CosineSimilarity() if distance is None else distance
        if not isinstance(self.distance, DistanceMeasure):
            msg = f"`distance` must be a DistanceMeasure, as CosineSimilarity(), got {distance!r}"
            raise TypeError(msg)
        if threshold is not None:
            _rounded(threshold)
        self.threshold = threshold

    def __repr__(self) -> str:
        return f"MatchFinder({self.distance!r}, threshold={self.threshold!r})"

    def get_matching_pairs(
        self,
        query: Array,
        ref: Array = None,
        threshold: float | None = None,
        return_tuples: bool = False,
        return_scores: bool = False,
    ) -> Any:
        """Return which queries match which references.

        Memory: the result, and blocks that do not grow with the rows. The matrix takes a byte a
        pair, 4 more with scores; the list grows with the pairs that match alone.

        Args:
            query: shape (Q, d), an array or a tensor.
            ref: shape (R, d); None: the queries, each of which then meets itself too.
            threshold: None: that of the finder.
            return_tuples: whether to give a list of positions (query, reference), in order.
            return_scores: whether to give the distance's values with them.

        Returns:
            Matches, bool (Q, R), or the list of tuples. With scores, a tuple of that and the
            values, float32: of all pairs, (Q, R), or of those in the list.

        Raises:
            ValueError: there is no threshold, or embeddings are not finite matrices of one
                dimension.
        """
        query, ref, _ = as_two_matrices(query, query if ref is None else ref, ("query", "ref"))
        find = self._list if return_tuples else self._matrix
        pairs, scores = find(query, ref, self._chosen(threshold), return_scores)
        return (pairs, scores) if return_scores else pairs

    def is_match(self, x: Array, y: Array, threshold: float | None = None) -> Matches | bool:
        """Return whether each row of `x` matches the same row of `y`, bool (N,).

        A single pair gives one bool.

        Args:
            x: shape (N, d), or (d,) for one pair; an array or a tensor.
            y: of the shape of `x`.
            threshold: None: that of the finder.

        Raises:
            ValueError: there is no threshold, or embeddings are not finite and of one shape.
        """
        least_or_most, backend = self._chosen(threshold), backend_of(x, y)
        x, y = (rows[None] if rows.ndim == 1 else rows for rows in map(backend.rows32, (x, y)))
        matches = backend.numpy(self.distance.meets(self.distance.pairwise(x, y), least_or_most))
        return bool(matches[0]) if len(matches) == 1 else matches

    def calibrate(
        self,
        embeddings: Array,
        labels: Array,
        *,
        target: str = "best_f1",
        held_out: float | tuple[Array, Array] = 0.5,
        seed: int = 0,
    ) -> Calibration:
        """Set the threshold that meets a target, and report what it reaches on held-out data.

        The threshold is fitted on the pairs within one part of the rows, exactly, and examined on
        the pairs within another, so that the report says what to expect of new classes:

        - `"far=f"`: the largest recall with FAR <= f;
        - `"precision=p"`: the largest recall with precision >= p;
        - `"recall=r"`: the strictest threshold with recall >= r;
        - `"best_f1"`: the largest F1; of equals the strictest threshold.

        The result does not depend on the order of rows, on blocks, threads or devices. Memory: a
        copy of the embeddings, blocks, and 40 MB; it does not grow with the number of pairs.

        Args:
            embeddings: shape (N, d), an array or a tensor.
            labels: integers, booleans, floats or strings, shape (N,).
            target: what the threshold must reach; rates are above 0 and at most 1.
            held_out: the share of the classes whose rows are held out, drawn by `seed`; or
                embeddings and labels that are not among those given.
            seed: of the draw.

        Raises:
            UnknownNameError: the target does not exist.
            ValueError: no threshold reaches it, a part has no genuine or no impostor pairs, or an
                argument is out of range.

        Example:
            >>> from milepost.neighbors import LpDistance
            >>> rows = np.array([[0.0], [1.0], [9.0], [11.0], [40.0], [42.0], [60.0], [63.0]])
            >>> finder = MatchFinder(LpDistance(normalize_embeddings=False))
            >>> report = finder.calibrate(rows, [0, 0, 1, 1, 2, 2, 3, 3], target="far=0.1")
            >>> finder.threshold, report.fitted.recall, report.held_out.recall
            (3.0, 1.0, 1.0)
        """
        fitted_on = LabelledRows.of(embeddings, labels)
        if isinstance(held_out, tuple):
            examined_on = LabelledRows.of(*held_out)
        else:
            fitted_on, examined_on = fitted_on.split(held_out, seed)
        fitted_on.check("fitted on")
        examined_on.check("held out")
        threshold, fitted = fit(self.distance, fitted_on, target)
        self.threshold = threshold
        return Calibration(
            target, threshold, fitted, measure(self.distance, examined_on, threshold)
        )

    def _chosen(self, threshold: float | None) -> float:
        """Return the threshold of a call, rounded to float32."""
        chosen = self.threshold if threshold is None else threshold
        if chosen is None:
            msg = "`threshold` must be given, here or to MatchFinder, or be set by `calibrate`"
            raise ValueError(msg)
        return _rounded(chosen)

    def _matrix(
        self, query: Array, ref: Array, threshold: float, with_scores: bool
    ) -> tuple[Matches, Any]:
        shape = len(query), len(ref)
        found = np.empty(shape, bool)
        scores = np.empty(shape, np.float32) if with_scores else None
        for rows, columns, matches, values in self._blocks(query, ref, threshold, with_scores):
            found[rows, columns] = matches
            if scores is not None:
                scores[rows, columns] = values
        return found, scores

    def _list(
        self, query: Array, ref: Array, threshold: float, with_scores: bool
    ) -> tuple[list[tuple[int, int]], Any]:
        positions, scores = [np.zeros((2, 0), np.int64)], [np.zeros(0, np.float32)]
        for rows, columns, matches, values in self._blocks(query, ref, threshold, with_scores):
            i, j = np.nonzero(matches)
            positions.append(np.stack([i + rows.start, j + columns.start]))
            if values is not None:
                scores.append(values[matches])
        i, j = np.concatenate(positions, axis=1)
        order = np.lexsort((j, i))
        pairs = list(zip(i[order].tolist(), j[order].tolist(), strict=True))
        return pairs, np.concatenate(scores)[order] if with_scores else None

    def _blocks(
        self, query: Array, ref: Array, threshold: float, with_scores: bool
    ) -> Iterator[tuple[slice, slice, Matches, npt.NDArray[np.float32] | None]]:
        """Yield matches, with values if they are asked for, in NumPy, a block at a time."""
        numpy = backend_of(query).numpy
        if not with_scores:
            for rows, columns, matches in match_blocks(self.distance, query, ref, threshold):
                yield rows, columns, numpy(matches), None
            return
        for rows, columns, values in value_blocks(self.distance, query, ref):
            yield rows, columns, numpy(self.distance.meets(values, threshold)), numpy(values)


def _rounded(threshold: float) -> float:
    """Return a threshold rounded to float32."""
    with np.errstate(over="ignore"):
        rounded = float(np.float32(threshold))
    if rounded != rounded:
        msg = f"`threshold` must be a number, got {threshold}"
        raise ValueError(msg)
    return rounded
