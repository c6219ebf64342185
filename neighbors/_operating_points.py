"""Operating points of a verifier, from a histogram of pair scores, exact where it is fine enough.

A pair is accepted at threshold t if its score is at least t. Of G genuine and I impostor pairs,
TAR(t) is the share of genuine pairs accepted and FAR(t) that of impostor pairs; FRR = 1 - TAR.
Thresholds are the scores that occur, and one above them all that accepts nothing. Each function
returns a `Point` that also names the cells which must be cut further before its numbers are exact.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from milepost.neighbors._histogram import BIN_BITS, NUMBER_OF_BINS, Bins, Cells, Ints


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
    cut = key_of(score)
    inside = (cells.lowest < cut) & (cut < cells.lowest + (1 << cells.shifts))
    accepted = pairs[cells.lowest >= cut].sum()
    return Point(_share(accepted, pairs.sum()), float(score), np.flatnonzero(inside))


def tar_at_far(cells: Cells, far: float) -> Point:
    """Return the largest TAR among thresholds with FAR <= `far`.

    It is that of the smallest score above the (m + 1)-th highest impostor score, where m is the
    number of impostor pairs that `far` lets in. A `far` below 1 / I lets none in.
    """
    impostors, genuine = int(cells.impostors.sum()), int(cells.genuine.sum())
    if not impostors or not genuine:
        return _nothing()
    shares = np.cumsum(cells.impostors) / impostors
    accepted = int(np.searchsorted(shares, far, side="right"))  # cells that are let in whole
    wanted = _inexact(cells, accepted - 1, accepted)
    if accepted == 0:
        return Point(0.0, np.nan, wanted)
    tar = int(cells.genuine[:accepted].sum()) / genuine
    return Point(tar, float(cells.scores[accepted - 1]), wanted)


def at_recall(cells: Cells, recall: float) -> Point:
    """Return the TAR of the highest threshold with TAR >= `recall`.

    Args:
        cells: the histogram.
        recall: above 0 and at most 1.
    """
    genuine = int(cells.genuine.sum())
    if not genuine:
        return _nothing()
    shares = np.cumsum(cells.genuine) / genuine
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
    genuine = int(cells.genuine.sum())
    if not genuine:
        return _nothing()
    true, false = np.cumsum(cells.genuine), np.cumsum(cells.impostors)
    good = np.flatnonzero(true / (true + false) >= precision)
    at = int(np.searchsorted(true, true[good[-1]])) if good.size else -1
    mixed = np.flatnonzero((cells.genuine > 0) & (cells.impostors > 0) & (cells.shifts > 0))
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
    impostors, genuine = int(cells.impostors.sum()), int(cells.genuine.sum())
    if not impostors or not genuine:
        return _nothing()
    far = np.concatenate([[0.0], np.cumsum(cells.impostors) / impostors])
    frr = np.concatenate([[genuine], genuine - np.cumsum(cells.genuine)]) / genuine
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
    genuine = int(cells.genuine.sum())
    if not genuine:
        return _nothing()
    true, false = np.cumsum(cells.genuine), np.cumsum(cells.impostors)
    f1 = 2 * true / (true + false + genuine)
    best = int(np.argmax(f1))
    ceiling = 2 * true / (true + false - cells.impostors + genuine)  # its genuine pairs come first
    mixed = (cells.genuine > 0) & (cells.impostors > 0) & (cells.shifts > 0)
    candidates = np.flatnonzero(mixed & (ceiling >= f1[best]))
    promising = candidates[np.argsort(-ceiling[candidates], kind="stable")]
    wanted = np.concatenate([_inexact(cells, best), promising[promising != best]])
    return Point(float(f1[best]), float(cells.scores[best]), wanted)


def area_under_curve(cells: Cells) -> Point:
    """Return the chance that a genuine pair scores above an impostor pair, ties counting half.

    Pairs that share a cell count as ties, so that it is off by at most half the share of
    genuine-impostor combinations that share one. `score` is NaN and `wanted` empty.
    """
    impostors, genuine = int(cells.impostors.sum()), int(cells.genuine.sum())
    if not impostors or not genuine:
        return _nothing()
    above = np.cumsum(cells.genuine) - cells.genuine / 2
    value = float(((cells.impostors / impostors) * (above / genuine)).sum())
    return Point(value, np.nan, np.zeros(0, np.int64))


def even_bits(cells: Cells, number: int) -> Ints:
    """Return how finely to cut each bin, so that few genuine-impostor combinations share a cell.

    `number` cells are shared out in proportion to sqrt(genuine x impostors); rounding up to powers
    of two at most doubles them. Where scores spread evenly in each bin, the area under the curve
    is then off by at most 1 / (2 `number`), by the Cauchy-Schwarz inequality.

    Returns:
        int64 (2^18,), log2 of the number of cells; 0 where a bin need not be cut.
    """
    weights = np.where(cells.shifts > 0, np.sqrt(cells.genuine * 1.0 * cells.impostors), 0.0)
    bits = np.zeros(NUMBER_OF_BINS, np.int64)
    some = weights > 0
    shares = number * weights[some] / weights.sum()
    bits[cells.bins[some]] = np.ceil(np.log2(shares)).clip(0, BIN_BITS)
    return bits


def refinement(even: Ints | None, cells: Cells, points: list[Point], most: int) -> Bins:
    """Return bins that make points exact: those they want to single scores, `most` in a pass.

    Args:
        even: how finely to cut other bins, as `even_bits` gives it; None: they are left out.
        cells: the histogram as it is.
        points: what is to be read from it.
        most: the number of bins that may be cut to single scores; the others wait for a pass more.
    """
    bits = np.full(NUMBER_OF_BINS, -1) if even is None else np.where(even > 0, even, -1)
    wanted = cells.bins[np.concatenate([point.wanted for point in points])]
    _, first = np.unique(wanted, return_index=True)
    bits[wanted[np.sort(first)[:most]]] = BIN_BITS
    return Bins(bits)


def key_of(score: np.float32) -> int:
    """Return the key of a score."""
    bits = int(np.float32(score + np.float32(0.0)).view(np.int32))
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _share(part: np.int64, whole: np.int64) -> float:
    return int(part) / int(whole) if whole else float("nan")


def _nothing() -> Point:
    return Point(float("nan"), float("nan"), np.zeros(0, np.int64))


def _inexact(cells: Cells, *positions: int) -> npt.NDArray[np.int64]:
    """Return those of the positions at which there is a cell that holds more than one score."""
    return np.array(
        [p for p in positions if 0 <= p < len(cells.shifts) and cells.shifts[p] > 0], np.int64
    )
