"""Operating points of a verifier, from a histogram of pair scores, exact where it is fine enough.

A pair is accepted at threshold t if its score is at least t. Of G genuine and I impostor pairs,
TAR(t) is the share of genuine pairs accepted and FAR(t) that of impostor pairs; FRR = 1 - TAR.
Thresholds are the scores that occur, and one above them all that accepts nothing. Each function
returns a `Point` that also names the cells which must be cut further before its numbers are exact.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from milepost.neighbors._cells import Cells, Ints, keys_of
from milepost.neighbors._ranges import Ranges


class Point(NamedTuple):
    """A number that is read from a histogram.

    Attributes:
        value: the rate that was asked for.
        score: the threshold that it belongs to; NaN: there is none that accepts anything.
        wanted: positions of cells that must be refined before both are exact; empty: they are.
    """

    value: float
    score: float
    wanted: Ints


def accepted_share(cells: Cells, pairs: Ints, score: np.float32) -> Point:
    """Return the share of pairs that a threshold accepts.

    Args:
        cells: the histogram.
        pairs: `cells.genuine` or `cells.impostors`.
        score: the threshold.
    """
    cut = keys_of(score)
    inside = (cells.lowest < cut) & (cut < cells.lowest + cells.widths)
    accepted = pairs[cells.lowest >= cut].sum()
    return Point(_share(accepted, pairs.sum()), float(score), np.flatnonzero(inside))


def tar_at_far(cells: Cells, far: float) -> Point:
    """Return the largest TAR among thresholds with FAR <= `far`.

    It is that of the smallest score above the (m + 1)-th highest impostor score, where m is the
    number of impostor pairs that `far` lets in. A `far` below 1 / I lets none in.
    """
    impostors, genuine = cells.kinds
    if not impostors or not genuine:
        return _nothing()
    shares = cells.false / impostors
    accepted = int(np.searchsorted(shares, far, side="right"))  # cells that are let in whole
    wanted = _inexact(cells, accepted - 1, accepted)
    if accepted == 0:
        return Point(0.0, np.nan, wanted)
    tar = int(cells.true[accepted - 1]) / genuine
    return Point(tar, float(cells.scores[accepted - 1]), wanted)


def at_recall(cells: Cells, recall: float) -> Point:
    """Return the TAR of the highest threshold with TAR >= `recall`.

    Args:
        cells: the histogram.
        recall: above 0 and at most 1.
    """
    _, genuine = cells.kinds
    if not genuine:
        return _nothing()
    shares = cells.true / genuine
    at = int(np.searchsorted(shares, recall))
    return Point(float(shares[at]), float(cells.scores[at]), _inexact(cells, at))


def at_precision(cells: Cells, precision: float) -> Point:
    """Return the largest TAR among thresholds with TP / (TP + FP) >= `precision`.

    TP and FP are the genuine and impostor pairs that are accepted. Of thresholds with that TAR it
    is the highest; where there is none at all the TAR is 0.

    Args:
        cells: the histogram.
        precision: above 0 and at most 1.
    """
    _, genuine = cells.kinds
    if not genuine:
        return _nothing()
    true, false = cells.true, cells.false
    good = np.flatnonzero(true / (true + false) >= precision)
    at = int(np.searchsorted(true, true[good[-1]])) if good.size else -1
    mixed = np.flatnonzero((cells.genuine > 0) & (cells.impostors > 0) & (cells.widths > 1))
    hits, others = true[mixed], (false - cells.impostors)[mixed]  # its genuine pairs come first
    promising = mixed[(mixed > at) & (hits / (hits + others) >= precision)]
    wanted = np.concatenate([promising[::-1], _inexact(cells, at)])
    if at < 0:
        return Point(0.0, np.nan, wanted)
    return Point(int(true[at]) / genuine, float(cells.scores[at]), wanted)


def equal_error(cells: Cells) -> Point:
    """Return the rate at which FAR = FRR, on straight lines between neighbouring thresholds.

    Its threshold is that of the line's two ends where FAR and FRR differ least; the lower on a tie.
    """
    impostors, genuine = cells.kinds
    if not impostors or not genuine:
        return _nothing()
    far = np.concatenate([[0.0], cells.false / impostors])
    frr = np.concatenate([[genuine], genuine - cells.true]) / genuine
    below = int(np.argmax(far >= frr))  # below[0] accepts nothing, so it is at least 1
    above = below - 1
    gap_below, gap_above = far[below] - frr[below], frr[above] - far[above]
    weight = gap_below / (gap_below + gap_above)
    value = far[below] + weight * (far[above] - far[below])
    cell = below - 1 if gap_below <= gap_above else above - 1
    return Point(float(value), float(cells.scores[cell]), _inexact(cells, below - 2, below - 1))


def best_f1(cells: Cells) -> Point:
    """Return the largest F1 = 2 TP / (TP + FP + G), with the highest threshold that gives it.

    TP and FP are the genuine and impostor pairs that are accepted.
    """
    _, genuine = cells.kinds
    if not genuine:
        return _nothing()
    true, false = cells.true, cells.false
    f1 = 2 * true / (true + false + genuine)
    best = int(np.argmax(f1))
    ceiling = 2 * true / (true + false - cells.impostors + genuine)  # its genuine pairs come first
    mixed = (cells.genuine > 0) & (cells.impostors > 0) & (cells.widths > 1)
    candidates = np.flatnonzero(mixed & (ceiling >= f1[best]))
    promising = candidates[np.argsort(-ceiling[candidates], kind="stable")]
    wanted = np.concatenate([_inexact(cells, best), promising[promising != best]])
    return Point(float(f1[best]), float(cells.scores[best]), wanted)


def area_under_curve(cells: Cells) -> Point:
    """Return the chance that a genuine pair scores above an impostor pair, ties counting half.

    Pairs that share a cell count as ties, so that it is off by at most half the share of
    genuine-impostor combinations that share one. `score` is NaN and `wanted` empty.
    """
    impostors, genuine = cells.kinds
    if not impostors or not genuine:
        return _nothing()
    above = cells.true - cells.genuine / 2
    value = float(((cells.impostors / impostors) * (above / genuine)).sum())
    return Point(value, np.nan, np.zeros(0, np.int64))


class AreaError(NamedTuple):
    """How far off the area under the curve is at most.

    Attributes:
        bound: half the share of genuine-impostor combinations in one cell of several scores.
        spread: three standard deviations, where scores spread evenly over each cell.
    """

    bound: float
    spread: float


def area_error(cells: Cells) -> AreaError:
    """Return how far off `area_under_curve` is.

    Of g genuine and i impostor pairs spread evenly over a cell, the number of combinations in the
    right order has a variance of about g i (g + i) / 12, as in the Mann-Whitney test.
    """
    wide = cells.widths > 1
    genuine, impostors = cells.genuine[wide] * 1.0, cells.impostors[wide]
    tied = genuine * impostors
    all_combinations = max(1.0, 1.0 * cells.kinds[0] * cells.kinds[1])
    deviation = math.sqrt(float((tied * (genuine + impostors)).sum()) / 12)
    return AreaError(float(tied.sum()) / 2 / all_combinations, 3 * deviation / all_combinations)


def refinement(cells: Cells, points: list[Point], most: int) -> Ranges:
    """Return ranges that make points exact, once they are counted.

    Args:
        cells: the histogram as it is.
        points: what is to be read from it.
        most: the number of cells that may be refined; the others wait for a pass more.
    """
    wanted = np.concatenate([point.wanted for point in points])
    _, first = np.unique(wanted, return_index=True)
    return Ranges.of(cells, wanted[np.sort(first)[:most]])


def _share(part: np.int64, whole: np.int64) -> float:
    return int(part) / int(whole) if whole else float("nan")


def _nothing() -> Point:
    return Point(float("nan"), float("nan"), np.zeros(0, np.int64))


def _inexact(cells: Cells, *positions: int) -> npt.NDArray[np.int64]:
    """Return those of the positions at which there is a cell that holds more than one score."""
    return np.array(
        [p for p in positions if 0 <= p < len(cells.widths) and cells.widths[p] > 1], np.int64
    )
