"""Match rates of resampled queries: to first order, from the rates of each query.

B is the number of resamples, Q that of queries. A resample counts the pairs of each query as often
as the query was drawn. The rates at a threshold follow at once. Where a threshold is chosen by the
resample itself, the curve of TAR over FAR is taken to keep its form: its rates are scaled as those
at the threshold that was chosen on all pairs.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import final

import numpy as np

from milepost.inferencers._evidence import Floats, Over
from milepost.inferencers._inferencer import Table
from milepost.inferencers._match_points import MatchPoints, OperatingPoint
from milepost.neighbors import Cells, area_under_curve

_MOST = 10.0  # how much a rate may be scaled
_LIMIT = 500.0  # of log odds


@final
class CountedPairs:
    """The rates of resamples, from a table with those of each query.

    Args:
        queries: the rates of each query, and how many pairs it has.
        weights: shape (B, Q), how often each was drawn.
        over: what was drawn.
        is_within: whether pairs are those of the queries themselves, so that each is in the rates
            of both.
    """

    def __init__(self, queries: Table, weights: Floats, over: Over, *, is_within: bool) -> None:
        self._queries, self._weights, self._is_within = queries, weights, is_within
        self._draws_classes = over == "class" or (over == "group" and _is_nested(queries))

    def pairs(self, name: str, kind: str) -> Floats:
        """Return how many pairs of a kind a rate counts, shape (B,).

        Args:
            name: that of the rate; empty: all pairs.
            kind: `"genuine_pairs"` or `"impostor_pairs"`.
        """
        pairs = self._queries[kind].astype(np.float64)
        if name:
            pairs = np.where(pairs > 0, self._queries[name], 0.0) * pairs
        total: Floats = self._weights @ pairs
        if not self._is_within:
            return total
        return total / 2 if self.is_drawn_as_one(kind) else total - pairs.sum() / 2

    def is_drawn_as_one(self, kind: str) -> bool:
        """Return whether the two queries of a pair of a kind are drawn together."""
        return kind == "genuine_pairs" and self._draws_classes

    def rate(self, name: str, kind: str) -> Floats:
        """Return a rate of each resample, shape (B,).

        A pair of queries that are not drawn counts -1 times: a rate that is near 0 or 1 may go
        beyond, which says no more than that it is there.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            rates: Floats = self.pairs(name, kind) / self.pairs("", kind)
        return rates.clip(0.0, 1.0)

    def change(self, name: str, kind: str) -> Floats:
        """Return how much a rate is above that of all queries, shape (B,)."""
        return self.rate(name, kind) - self.of_all.rate(name, kind)

    @cached_property
    def of_all(self) -> "CountedPairs":
        """The rates of all queries, as of one resample that draws each once."""
        once = np.ones((1, self._weights.shape[1]))
        return CountedPairs(self._queries, once, "query", is_within=self._is_within)


@final
class PairChance:
    """How far the chance of single pairs moves the rates of resamples: as far as it does twice.

    Args:
        counted: the rates.
        signed: for each rate and query the sum of its pairs' signs, where they match.
        weights: shape (B, Q), how often each query was drawn.
    """

    def __init__(self, counted: CountedPairs, signed: Table, weights: Floats) -> None:
        self._counted, self._signed, self._weights = counted, signed, weights

    def pairs(self, name: str, kind: str) -> Floats:
        """Return how many pairs of a kind there are; `name` is empty."""
        return np.repeat(self._counted.of_all.pairs(name, kind), len(self._weights))

    def rate(self, name: str, kind: str) -> Floats:
        """Return a rate of all pairs, moved by chance."""
        return (self._counted.of_all.rate(name, kind) + self.change(name, kind)).clip(0.0, 1.0)

    def change(self, name: str, kind: str) -> Floats:
        """Return how far chance moves a rate, shape (B,)."""
        every = self._counted.of_all
        if self._counted.is_drawn_as_one(kind) or not every.pairs("", kind)[0]:
            return np.zeros(len(self._weights))
        counts = self._signed[name] - every.rate(name, kind) * self._signed[kind]
        return np.asarray(self._weights @ counts / (math.sqrt(2) * every.pairs("", kind)))


def resampled_rates(
    points: MatchPoints,
    cells: Cells,
    fitted: Sequence[OperatingPoint] | None,
    counted: CountedPairs | PairChance,
) -> dict[str, Floats]:
    """Return the metrics of each resample, shape (B,) each.

    Args:
        points: what is read off.
        cells: the histogram of all pairs.
        fitted: thresholds that were chosen on other pairs, which stay; None: they were on these.
        counted: the rates of the resamples.
    """
    curve = _Curve(cells)
    metrics: dict[str, Floats] = {}
    for point in points.of(cells, fitted):
        tar_name, far_name = point.rate_names
        tar, far = counted.rate(tar_name, "genuine_pairs"), counted.rate(far_name, "impostor_pairs")
        if point.chosen is None or fitted is not None:
            metrics |= {tar_name: tar, far_name: far}
        elif point.name == "eer":
            metrics["eer"] = curve.equal_error(point, tar, far)
        elif point.name != "best_f1":
            metrics[tar_name] = curve.tar_at_far(point, tar, far)
        if point.name == "best_f1":
            name = "best_f1" if fitted is None else "f1@best_f1"
            metrics[name] = _f1(counted, tar, far)
    changes = counted.change("auc", "genuine_pairs") + counted.change(
        "auc_of_impostors", "impostor_pairs"
    )
    metrics["auc"] = _moved(area_under_curve(cells).value, changes)
    return metrics


@final
class _Curve:
    """TAR over FAR of all pairs, and that of resamples, of the same form."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        impostors, genuine = cells.kinds
        last = np.flatnonzero(np.diff(cells.false, append=-1))  # of those with equal FAR
        self._far = cells.false[last] / max(1, impostors)
        self._tar = cells.true[last] / max(1, genuine)

    def tar_at_far(self, point: OperatingPoint, tar: Floats, far: Floats) -> Floats:
        """Return TAR where FAR is what it was, given both at the threshold that was chosen."""
        own = point.rates(self._cells)
        if not len(self._far):
            return tar
        level = own.far / _ratio(far, own.far)
        moved = np.interp(level, self._far, self._tar) - np.interp(own.far, self._far, self._tar)
        return (tar + moved).clip(0.0, 1.0)

    def equal_error(self, point: OperatingPoint, tar: Floats, far: Floats) -> Floats:
        """Return FAR where it equals FRR, given both at the threshold that was chosen."""
        own = point.rates(self._cells)
        assert point.chosen is not None
        false, missed = _ratio(far, own.far), _ratio(1 - tar, 1 - own.recall)
        some = self._tar < 1
        odds = self._far[some] / (1 - self._tar[some])
        if not some.any() or not point.chosen.value > 0:
            return np.full(len(tar), point.chosen.value)
        rates = np.interp([1.0, *(missed / false)], odds, self._far[some])
        found: Floats = point.chosen.value * false * rates[1:] / rates[0]
        return found


def _ratio(rate: Floats, whole: float) -> Floats:
    """Return rates as multiples of that of all pairs; 1 where there is none."""
    if not whole > 0:
        return np.ones(len(rate))
    return np.clip(rate / whole, 1 / _MOST, _MOST)


def _f1(counted: CountedPairs | PairChance, tar: Floats, far: Floats) -> Floats:
    genuine = counted.pairs("", "genuine_pairs")
    true = tar * genuine
    with np.errstate(invalid="ignore"):
        return 2 * true / (true + far * counted.pairs("", "impostor_pairs") + genuine)


def _moved(share: float, changes: Floats) -> Floats:
    """Return a share changed in its log odds: to first order by `changes`, and never beyond 0 or 1.

    Large shares fall farther than they rise, as those of samples do.
    """
    if not 0 < share < 1:
        return np.full(len(changes), share)
    log_odds = math.log(share / (1 - share)) + changes / (share * (1 - share))
    return np.asarray(1 / (1 + np.exp(-log_odds.clip(-_LIMIT, _LIMIT))))


def _is_nested(queries: Table) -> bool:
    """Return whether all queries of a label are of one group."""
    if "group" not in queries:
        return False
    codes = [
        np.unique(queries[name], axis=0, return_inverse=True)[1].reshape(-1)
        for name in ("label", "group")
    ]
    pairs = np.unique(np.stack(codes), axis=1)
    return bool(pairs.shape[1] == codes[0].max(initial=-1) + 1)
