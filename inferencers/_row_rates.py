"""The match rates of each query and of each group of queries, at given thresholds.

P is the number of thresholds, M = P + 2 that of sums: the pairs, those that match at each
threshold, and twice the pairs of the other kind that lie on the wrong side, or are equal.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._evidence import Over
from milepost.inferencers._group_rates import (
    GENUINE,
    IMPOSTOR,
    Columns,
    GroupRates,
    rate_columns,
    share,
)
from milepost.inferencers._inferencer import State, Table
from milepost.inferencers._kind_table import joined_columns
from milepost.inferencers._label_table import Ints, Labels
from milepost.inferencers._match_points import OperatingPoint
from milepost.inferencers._pair_set import Compared, PairSet
from milepost.inferencers._row_sample import hashes
from milepost.neighbors import Cells, Grid, keys_of, row_tallies

_QUANTILES = 128  # of the scores, between which pairs count as tied in a query's `auc`


class Worth(NamedTuple):
    """What a pair counts for, by its score.

    Attributes:
        edges: float32 (E,), ascending.
        of: int64 (2, E + 1, M), impostor and genuine pairs with a score between edges.
    """

    edges: npt.NDArray[np.float32]
    of: Ints


def worth_of(cells: Cells, points: Sequence[OperatingPoint]) -> Worth:
    """Return what tells the pairs that match at each threshold, and how well pairs are ordered.

    Args:
        cells: the histogram of all pairs, exact at the thresholds.
        points: the thresholds.
    """
    kinds = np.stack([cells.impostors, cells.genuine])
    mass = (kinds / kinds.sum(axis=1, keepdims=True).clip(min=1)).sum(axis=0)
    levels = np.linspace(0, mass.sum(), _QUANTILES + 1)[1:-1]
    some = np.searchsorted(mass.cumsum(), levels).clip(max=len(mass) - 1)
    quantiles = cells.scores[some] if len(mass) else cells.scores
    scores = np.array([each.score for each in points])
    scores = np.where(np.isnan(scores), math.inf, scores).astype(np.float32)
    edges = np.unique(np.concatenate([scores, quantiles.astype(np.float32)]))
    number = len(edges) + 1
    bins = np.searchsorted(keys_of(edges), cells.lowest, side="right")
    impostors, genuine = (np.bincount(bins, kind, number).astype(np.int64) for kind in kinds)
    worth = np.ones((2, number, len(points) + 2), np.int64)
    worth[:, :, 1:-1] = np.arange(number)[:, None] > np.searchsorted(edges, scores)
    worth[IMPOSTOR, :, -1] = 2 * (genuine.sum() - genuine.cumsum()) + genuine
    worth[GENUINE, :, -1] = 2 * impostors.cumsum() - impostors
    return Worth(edges, worth)


@final
class RowRates:
    """Counts, for each query of one worker, its genuine and impostor pairs that match.

    In pairs of queries each row in turn is the query. One pass over the rows of all workers.

    Where a resample draws rows, a pair is drawn with both of them, and its own chance counts twice.
    How much that is, a second sum tells, in which pairs have a random sign: that of the row, or of
    the class, that the query is paired with. Its square is, on average, the sum of the squares of
    what the query shares with each (Alon, Matias and Szegedy, JCSS 58, 1999).

    Memory: 16 M bytes a query, or 32.

    Args:
        pairs: the pairs.
        cells: the histogram of all of them, exact at the thresholds.
        points: the thresholds.
        is_grouped: whether the first of the columns of `pairs` is a group.
        over: what will be drawn; None: nothing.
    """

    def __init__(
        self,
        pairs: PairSet,
        cells: Cells,
        points: Sequence[OperatingPoint],
        *,
        is_grouped: bool,
        over: Over | None,
    ) -> None:
        self.pairs, self._points, self._is_grouped = pairs, points, is_grouped
        self._kinds = cells.kinds
        self._worth = worth_of(cells, points)
        self._grid = Grid.over(pairs.distance, pairs.longest())
        self._sums = np.zeros((len(pairs.queries.ids), 2, len(points) + 2), np.int64)
        self._sign_by = over if pairs.is_within and over in ("query", "class") else None
        self._signed = np.zeros_like(self._sums if self._sign_by else self._sums[:0])
        self._others: list[tuple[Labels, Ints]] = []  # groups and their sums on other workers

    def scan(self, compared: Compared) -> None:
        """Count pairs."""
        if self._sign_by is None:
            self._sums += self._tallies(compared)
            return
        signs = hashes(compared.labels[1] if self._sign_by == "class" else compared.ids) % 2 == 1
        one, other = (self._tallies(compared.beside(some)) for some in (signs, ~signs))
        self._sums += one + other
        self._signed += one - other

    def _tallies(self, compared: Compared) -> Ints:
        return row_tallies(
            compared.queries,
            compared.gallery,
            compared.labels,
            *self._worth,
            grid=self._grid,
            distance=self.pairs.distance,
            limits=compared.limits,
        )

    def state(self) -> State:
        """Return the sums of this worker's groups."""
        groups, sums = self._own_groups()
        return {"groups": groups, "sums": sums}

    def merge(self, states: Sequence[State]) -> None:
        """Take in the sums of other workers' groups."""
        self._others += [(state["groups"], state["sums"]) for state in states]

    def metrics(self) -> dict[str, float]:
        """Return the worst rates of a group, if there are groups."""
        return self._by_group().metrics() if self._is_grouped else {}

    def tables(self) -> dict[str, Table]:
        """Return the rates of this worker's queries and, if there are groups, of all groups."""
        queries = self.pairs.queries
        columns: Columns = {"id": queries.ids, "label": queries.labels}
        if self._is_grouped:
            columns["group"] = queries.columns[0]
        columns |= rate_columns(self._sums[:, :, :-1], self._points)
        impostors, genuine = self._sums[:, IMPOSTOR], self._sums[:, GENUINE]
        of_impostors, of_genuine = self._kinds
        columns["auc"] = share(genuine[:, -1], 2.0 * of_impostors * genuine[:, 0])
        columns["auc_of_impostors"] = share(impostors[:, -1], 2.0 * of_genuine * impostors[:, 0])
        tables: dict[str, Table] = {"queries": columns}
        if self._sign_by is not None:
            tables["signed_pairs"] = {"id": queries.ids, **self._signed_counts()}
        return {**tables, **(self._by_group().tables() if self._is_grouped else {})}

    def _signed_counts(self) -> Columns:
        """Return for each rate how many of a query's pairs match, less those of the other sign."""
        impostors, genuine = self._signed[:, IMPOSTOR], self._signed[:, GENUINE]
        columns: Columns = {"genuine_pairs": genuine[:, 0], "impostor_pairs": impostors[:, 0]}
        for at, point in enumerate(self._points, start=1):
            columns |= zip(point.rate_names, (genuine[:, at], impostors[:, at]), strict=True)
        of_impostors, of_genuine = (max(kind, 1) for kind in self._kinds)
        columns["auc"] = genuine[:, -1] / (2.0 * of_impostors)
        columns["auc_of_impostors"] = impostors[:, -1] / (2.0 * of_genuine)
        return columns

    def _by_group(self) -> GroupRates:
        """Return the rates of the groups of all workers."""
        parts = [self._own_groups(), *self._others]
        groups, sums = zip(*(part for part in parts if len(part[0])), strict=True)
        (joined,) = joined_columns([(each,) for each in groups])
        return GroupRates.of(joined, np.concatenate(sums), self._points)

    def _own_groups(self) -> tuple[Labels, Ints]:
        """Return the groups of this worker, and their sums."""
        if not self._is_grouped:
            return np.zeros(0), self._sums[:0]
        rates = GroupRates.of(self.pairs.queries.columns[0], self._sums[:, :, :-1], self._points)
        return rates.groups, rates.sums
