"""What is read off the cells of a list of pairs, each of which holds a single score."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from milepost.neighbors._cells import Cells, Ints, cells_of_list
from milepost.neighbors._operating_points import Point

Floats = npt.NDArray[np.float64]


def best_accuracy(cells: Cells) -> Point:
    """Return the largest share of pairs that a threshold decides rightly.

    Thresholds are the scores that occur, and one that accepts nothing, whose score is NaN; of
    equals it is the one that accepts least.

    Args:
        cells: of width 1.
    """
    impostors, genuine = cells.kinds
    nothing = np.zeros(0, np.int64)
    if not impostors + genuine:
        return Point(np.nan, np.nan, nothing)
    right = np.concatenate([[0], cells.true - cells.false])
    best = int(right.argmax())
    value = (impostors + int(right[best])) / (impostors + genuine)
    return Point(value, float(cells.scores[best - 1]) if best else np.nan, nothing)


def average_precision_of_pairs(cells: Cells) -> float:
    """Return the mean over genuine pairs of the precision at the threshold that is their score.

    NaN if there are none; equal scores are taken together.

    Args:
        cells: of width 1.
    """
    some = cells.genuine > 0
    if not some.any():
        return float("nan")
    precision = cells.true[some] / (cells.true + cells.false)[some]
    return float(precision @ cells.genuine[some] / cells.kinds[1])


class FoldAccuracy(NamedTuple):
    """How well each fold is decided by the threshold that is best on all others.

    Attributes:
        folds: the folds, ascending, F of them.
        thresholds: float64 (F,), scores; infinity accepts nothing.
        accuracies: float64 (F,), the share of the pairs of a fold that are decided rightly.
        fold_of: int64 (P,), the position of each pair's fold.
        is_right: bool (P,), which pairs are decided rightly.
    """

    folds: npt.NDArray[np.generic]
    thresholds: Floats
    accuracies: Floats
    fold_of: Ints
    is_right: npt.NDArray[np.bool_]


def fold_accuracy(
    scores: npt.NDArray[np.float32],
    genuine: npt.NDArray[np.bool_],
    folds: npt.NDArray[np.generic],
) -> FoldAccuracy:
    """Return the accuracy of each fold, as in face verification.

    The protocol is that of Labeled Faces in the Wild (Huang et al., University of Massachusetts
    technical report 07-49, 2007, view 2); the threshold is that of `best_accuracy`.

    Args:
        scores: shape (P,), larger is closer.
        genuine: shape (P,).
        folds: shape (P,), at least two different.

    Example:
        >>> scores = np.array([0.9, 0.2, 0.8, 0.3], np.float32)
        >>> genuine = np.array([True, False, True, False])
        >>> fold_accuracy(scores, genuine, np.array([0, 0, 1, 1])).accuracies
        array([1. , 0.5])
    """
    different, fold_of = np.unique(folds, return_inverse=True)
    thresholds, accuracies = np.empty((2, len(different)))
    is_right = np.zeros(len(scores), np.bool_)
    for fold in range(len(different)):
        own = fold_of == fold
        best = best_accuracy(cells_of_list(scores[~own], genuine[~own])).score
        thresholds[fold] = np.inf if np.isnan(best) else best
        is_right[own] = (scores[own] >= thresholds[fold]) == genuine[own]
        accuracies[fold] = is_right[own].mean()
    return FoldAccuracy(different, thresholds, accuracies, fold_of, is_right)


def folds_in_order(number: int, folds: int) -> Ints:
    """Return the fold of each of some pairs: as many in each, the first folds one more.

    Example:
        >>> folds_in_order(5, 3)
        array([0, 0, 1, 1, 2])
    """
    return np.repeat(np.arange(folds), [len(x) for x in np.array_split(np.empty(number), folds)])
