"""The metrics of a table of pairs with their scores, and what lies behind them."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import final

import numpy as np

from milepost.inferencers._evidence import Floats
from milepost.inferencers._group_rates import GroupRates, pair_sums
from milepost.inferencers._inferencer import Table
from milepost.inferencers._match_points import MatchPoints, OperatingPoint
from milepost.inferencers._score_tables import score_tables
from milepost.inferencers._scored_pairs import Columns
from milepost.neighbors import (
    Cells,
    FoldAccuracy,
    average_precision_of_pairs,
    cells_of_list,
    fold_accuracy,
    folds_in_order,
    keys_of,
)

_NOT_RATES = ("threshold", "far_resolution", "_pairs")  # in names of what is not resampled


@final
class PairReport:
    """What is told of some pairs.

    Args:
        pairs: columns `id`, `score`, `same`, and those of folds and groups; sorted by id.
        points: what is read off their scores.
        fitted: thresholds that were chosen on other pairs; None: they are chosen on these.
        folds: how many, in order, or the column of folds; None: none.
        group: the column of groups; None: none.

    Raises:
        ValueError: there are fewer pairs than folds, or only one fold.
    """

    def __init__(
        self,
        pairs: Columns,
        points: MatchPoints,
        fitted: Sequence[OperatingPoint] | None,
        folds: int | str | None,
        group: str | None,
    ) -> None:
        self._pairs, self._points, self._fitted = pairs, points, fitted
        self._cells = cells_of_list(pairs["score"], pairs["same"])
        self._group = group
        self._folds = None if folds is None else self._fold_accuracy(folds)

    def metrics(self) -> dict[str, float]:
        """Return the metrics."""
        metrics = self._of(self._cells)
        if self._folds is not None:
            accuracies = self._folds.accuracies
            error = accuracies.std(ddof=1) / math.sqrt(len(accuracies))
            metrics["fold_accuracy"] = float(accuracies.mean())
            metrics["fold_accuracy_standard_error"] = float(error)
        return metrics if self._group is None else {**metrics, **self._group_rates.metrics()}

    def tables(self) -> dict[str, Table]:
        """Return the evidence."""
        queries = {name: self._pairs[name] for name in ("id", "same", "score")}
        tables = {
            **score_tables(self._cells, self._points.scale),
            "operating_points": self._points.table(self._cells, self._fitted),
            "queries": queries,
        }
        if self._folds is not None:
            queries["fold_accuracy"] = self._folds.is_right.astype(np.float64)
            scale = self._points.scale
            tables["folds"] = {
                "fold": self._folds.folds,
                "pairs": np.bincount(self._folds.fold_of),
                "threshold": np.array([scale.threshold_of(s) for s in self._folds.thresholds]),
                "accuracy": self._folds.accuracies,
            }
        if self._group is not None:
            queries["group"] = self._pairs[self._group]
            tables |= self._group_rates.tables()
        return tables

    def resampled(self, weights: Floats) -> dict[str, Floats]:
        """Return the metrics of pairs that count as often as they were drawn, by weights (B, P)."""
        same = self._pairs["same"]
        at = np.searchsorted(-self._cells.lowest, -keys_of(self._pairs["score"]))
        found = []
        for drawn in weights:
            kinds = (
                np.bincount(at, drawn * (same == kind), len(self._cells.lowest)).astype(np.int64)
                for kind in (False, True)
            )
            cells = Cells(self._cells.lowest, self._cells.widths, *kinds)
            metrics = self._of(cells)
            if self._folds is not None:
                metrics["fold_accuracy"] = self._resampled_accuracy(self._folds, drawn)
            found.append(metrics)
        names = (x for x in found[0] if not any(part in x for part in _NOT_RATES))
        return {name: np.array([metrics[name] for metrics in found]) for name in names}

    def _of(self, cells: Cells) -> dict[str, float]:
        metrics = self._points.metrics(cells, self._fitted)
        return {**metrics, "average_precision": average_precision_of_pairs(cells)}

    @staticmethod
    def _resampled_accuracy(folds: FoldAccuracy, drawn: Floats) -> float:
        """Return the mean accuracy of folds that hold any pair; their thresholds stay."""
        pairs = np.bincount(folds.fold_of, drawn)
        right = np.bincount(folds.fold_of, drawn * folds.is_right)
        return float((right[pairs > 0] / pairs[pairs > 0]).mean())

    @cached_property
    def _group_rates(self) -> GroupRates:
        points = self._points.of(self._cells, self._fitted)
        sums = pair_sums(self._pairs["score"], self._pairs["same"], points)
        return GroupRates.of(self._pairs[self._group or ""], sums, points)

    def _fold_accuracy(self, folds: int | str) -> FoldAccuracy:
        number = len(self._pairs["id"])
        if isinstance(folds, int) and folds > number:
            msg = f"`folds` must be at most the number of pairs, {number}, got {folds}"
            raise ValueError(msg)
        column = folds_in_order(number, folds) if isinstance(folds, int) else self._pairs[folds]
        if len(np.unique(column)) < 2:
            msg = f"`folds` must tell at least two folds apart, got one in {folds!r}"
            raise ValueError(msg)
        return fold_accuracy(self._pairs["score"], self._pairs["same"], column)
