"""Match rates of each of some rows: queries, or groups of them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from milepost.inferencers._inferencer import Table
from milepost.inferencers._label_table import Ints, Labels
from milepost.inferencers._match_points import OperatingPoint

IMPOSTOR, GENUINE = 0, 1
Columns = dict[str, npt.NDArray[Any]]


def rate_columns(sums: Ints, points: Sequence[OperatingPoint]) -> Columns:
    """Return numbers of pairs and rates by name; NaN where there is no such pair.

    Args:
        sums: int64 (R, 2, 1 + P), impostor and genuine pairs of each row: all of them, and those
            that match at each threshold.
        points: the thresholds.
    """
    kinds = sums[:, GENUINE], sums[:, IMPOSTOR]
    columns: Columns = {"genuine_pairs": kinds[0][:, 0], "impostor_pairs": kinds[1][:, 0]}
    for at, point in enumerate(points, start=1):
        known = math.nan if math.isnan(point.score) else 1.0
        for name, kind in zip(point.rate_names, kinds, strict=True):
            columns[name] = known * share(kind[:, at], kind[:, 0])
    return columns


def pair_sums(
    scores: npt.NDArray[np.float32],
    genuine: npt.NDArray[np.bool_],
    points: Sequence[OperatingPoint],
) -> Ints:
    """Return what `rate_columns` takes, each row being a pair."""
    counted = [np.ones(len(scores), np.bool_), *(scores >= point.score for point in points)]
    sums = np.zeros((len(scores), 2, len(counted)), np.int64)
    sums[np.arange(len(scores)), genuine.astype(np.int64)] = np.stack(counted, axis=1)
    return sums


def share(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return part / whole; NaN where there is nothing."""
    with np.errstate(invalid="ignore"):
        return np.asarray(part / whole, np.float64)


class GroupRates(NamedTuple):
    """The rates of groups.

    Attributes:
        groups: shape (R,).
        sums: as for `rate_columns`.
        points: the thresholds.
    """

    groups: Labels
    sums: Ints
    points: Sequence[OperatingPoint]

    @classmethod
    def of(cls, groups: Labels, sums: Ints, points: Sequence[OperatingPoint]) -> "GroupRates":
        """Return the rates of groups that may occur several times."""
        different, at = np.unique(groups, axis=0, return_inverse=True)
        totals = np.zeros((len(different), *sums.shape[1:]), np.int64)
        np.add.at(totals, at.reshape(-1), sums)
        return cls(different, totals, points)

    def metrics(self) -> dict[str, float]:
        """Return the smallest TAR and the largest FAR of a group, NaN if no group has any."""
        return {f"{name}/worst_group": value for name, _, value in self._worst()}

    def tables(self) -> dict[str, Table]:
        """Return the rates of all groups, and which group is the worst by each."""
        names, at, values = zip(*self._worst(), strict=True)
        return {
            "groups": {"group": self.groups, **rate_columns(self.sums, self.points)},
            "worst_groups": {
                "metric": np.array(names),
                "group": self.groups[list(at)],
                "value": np.array(values),
            },
        }

    def _worst(self) -> list[tuple[str, int, float]]:
        """Return each rate's name, the first group where it is worst, and its value."""
        rates = rate_columns(self.sums, self.points)
        worst = []
        for tar, far in (point.rate_names for point in self.points):
            for name, sign in ((tar, 1.0), (far, -1.0)):
                at = int(np.nan_to_num(sign * rates[name], nan=math.inf).argmin())
                worst.append((name, at, float(rates[name][at])))
        return worst
