"""The numbers that are read off a histogram of pair scores, and the thresholds they belong to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from milepost.inferencers._inferencer import Table
from milepost.inferencers._threshold_scale import ThresholdScale
from milepost.neighbors import (
    Cells,
    Distance,
    PairRates,
    Point,
    accepted_share,
    area_under_curve,
    best_accuracy,
    best_f1,
    check_distance,
    equal_error,
    rates_at,
    tar_at_far,
)


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, given or chosen on pairs.

    Attributes:
        name: such as `"threshold=0.5"`, `"far=0.001"`, `"eer"`, `"best_f1"`.
        score: the smallest score that it accepts; infinity: none, NaN: it could not be chosen.
        chosen: what it was chosen for reaches on the pairs it was chosen on; None: it was given.
    """

    name: str
    score: float
    chosen: Point | None = None

    @property
    def rate_names(self) -> tuple[str, str]:
        """The names of TAR and FAR at the threshold."""
        if self.chosen is None:
            at = self.name.removeprefix("threshold=")
            return f"match_rate_genuine@{at}", f"match_rate_impostor@{at}"
        return f"tar@{self.name}", f"far@{self.name}"

    @property
    def threshold_name(self) -> str:
        """The name of the metric that is the threshold."""
        is_rate = self.name.startswith("far=")
        return f"threshold@{self.name}" if is_rate else f"{self.name}_threshold"

    def rates(self, cells: Cells) -> PairRates:
        """Return what the threshold reaches on pairs."""
        if not math.isnan(self.score):
            return rates_at(cells, self.score)
        impostors, genuine = cells.kinds
        nan = math.nan
        return PairRates(nan, nan, nan, nan, genuine, impostors)


def check_calibration(role: str | None) -> None:
    """Raise an error if thresholds are to be chosen on a role that has another part."""
    if role in ("query", "gallery"):
        msg = f"`calibrate_on` must be a role of its own, such as 'calibration', got {role!r}"
        raise ValueError(msg)


def check_group(field: str | None) -> None:
    """Raise an error unless this is one field, or none."""
    if field is not None and not (isinstance(field, str) and field):
        msg = (
            f"`group` must be one field, by which rates are split, got {field!r}; to leave out the "
            "rows of a query's group is for `Retrieval(group=...)`"
        )
        raise ValueError(msg)


@final
class MatchPoints:
    """What is read off a histogram.

    Args:
        thresholds: that are given, on the scale of the distance.
        far: false accept rates for which thresholds are chosen.
        distance: what scores are made of.
        with_accuracy: whether the best accuracy is read off too; cells then hold single scores.

    Raises:
        ValueError: a threshold or a rate is out of range.
        UnknownNameError: the distance does not exist.
    """

    def __init__(
        self,
        thresholds: float | Sequence[float],
        far: float | Sequence[float],
        distance: Distance,
        *,
        with_accuracy: bool = False,
    ) -> None:
        check_distance(distance)
        far = [far] if isinstance(far, int | float) else far
        thresholds = [thresholds] if isinstance(thresholds, int | float) else thresholds
        if any(not 0 < rate <= 1 for rate in far):
            msg = f"`far` must be above 0 and at most 1, got {far!r}"
            raise ValueError(msg)
        if any(not math.isfinite(t) or (distance == "l2" and t < 0) for t in thresholds):
            msg = f"`thresholds` must be finite, and for 'l2' not negative, got {thresholds!r}"
            raise ValueError(msg)
        self.scale, self._far = ThresholdScale(distance), tuple(far)
        self._with_accuracy = with_accuracy
        self._given = [
            OperatingPoint(f"threshold={each:.12g}", self.scale.score_of(each))
            for each in thresholds
        ]

    def chosen(self, cells: Cells) -> list[OperatingPoint]:
        """Return the thresholds that are chosen on these pairs."""
        points = {f"far={far:.12g}": tar_at_far(cells, far) for far in self._far}
        points |= {"eer": equal_error(cells), "best_f1": best_f1(cells)}
        if self._with_accuracy:
            points["best_accuracy"] = best_accuracy(cells)
        return [
            OperatingPoint(
                name,
                math.inf if math.isnan(p.score) and not math.isnan(p.value) else p.score,
                p,
            )
            for name, p in points.items()
        ]

    def of(self, cells: Cells, fitted: Sequence[OperatingPoint] | None) -> list[OperatingPoint]:
        """Return the thresholds that are given, then those that were fitted, or are chosen here."""
        return [*self._given, *(self.chosen(cells) if fitted is None else fitted)]

    def wanted(self, cells: Cells, fitted: Sequence[OperatingPoint] | None) -> list[Point]:
        """Return points that name the cells which must be cut before all numbers are exact."""
        scores = [each.score for each in self._given + list(fitted or ())]
        known = [accepted_share(cells, cells.genuine, np.float32(s)) for s in scores if s == s]
        own = self.chosen(cells) if fitted is None else []
        return known + [each.chosen for each in own if each.chosen]

    def metrics(
        self, cells: Cells, fitted: Sequence[OperatingPoint] | None = None
    ) -> dict[str, float]:
        """Return the metrics by name.

        Args:
            cells: the histogram.
            fitted: the thresholds that were chosen on other pairs; None: they are chosen on these.
        """
        metrics: dict[str, float] = {}
        for point in self.of(cells, fitted):
            metrics |= self._at(point, cells, is_fitted=fitted is not None)
        metrics["auc"] = area_under_curve(cells).value
        impostors, genuine = cells.kinds
        metrics["far_resolution"] = 1 / impostors if impostors else math.nan
        return {**metrics, "genuine_pairs": genuine, "impostor_pairs": impostors}

    def _at(self, point: OperatingPoint, cells: Cells, *, is_fitted: bool) -> dict[str, float]:
        """Return what a threshold reaches, and the threshold if it was chosen."""
        tar, far = point.rate_names
        if point.chosen is None or is_fitted:
            rates = point.rates(cells)
            values = {tar: rates.recall, far: rates.far}
            if point.name == "best_f1":
                values["f1@best_f1"] = rates.f1
            if point.name == "best_accuracy":
                values["accuracy@best_accuracy"] = rates.accuracy
        else:
            name = tar if point.name.startswith("far=") else point.name
            values = {name: point.chosen.value}
        if point.chosen is not None:
            values[point.threshold_name] = self.scale.threshold_of(point.score)
        return values

    def table(self, cells: Cells, fitted: Sequence[OperatingPoint] | None = None) -> Table:
        """Return what each threshold reaches, a row each."""
        points = self.of(cells, fitted)
        rates = [point.rates(cells) for point in points]
        return {
            "point": np.array([point.name for point in points]),
            "threshold": np.array([self.scale.threshold_of(point.score) for point in points]),
            "tar": np.array([each.recall for each in rates]),
            "far": np.array([each.far for each in rates]),
            "precision": np.array([each.precision for each in rates]),
            "f1": np.array([each.f1 for each in rates]),
        }
