"""What a threshold reaches on labelled pairs."""

import math
from dataclasses import dataclass

import numpy as np

from milepost.neighbors._cells import Cells, Ints, keys_of


@dataclass(frozen=True)
class PairRates:
    """How well a threshold tells genuine from impostor pairs; NaN: there is nothing to tell from.

    Attributes:
        precision: share of the pairs that match which are genuine.
        recall: share of the genuine pairs that match (the TAR).
        far: share of the impostor pairs that match.
        f1: 2 TP / (TP + FP + genuine pairs), TP and FP being the pairs of each kind that match.
        genuine_pairs: how many there are.
        impostor_pairs: how many there are; a `far` below 1 over it can only show as 0.
    """

    precision: float
    recall: float
    far: float
    f1: float
    genuine_pairs: int
    impostor_pairs: int

    @property
    def accuracy(self) -> float:
        """The share of all pairs that are decided rightly; NaN without pairs of either kind."""
        right = self.recall * self.genuine_pairs + (1 - self.far) * self.impostor_pairs
        pairs = self.genuine_pairs + self.impostor_pairs
        return right / pairs if pairs else math.nan

    @classmethod
    def of(cls, counts: Ints) -> "PairRates":
        """Return the rates of [[false, true matches], [impostor, genuine pairs]]."""
        (false, true), (impostors, genuine) = counts.tolist()
        return cls(
            precision=_share(true, true + false),
            recall=_share(true, genuine),
            far=_share(false, impostors),
            f1=_share(2 * true, true + false + genuine),
            genuine_pairs=genuine,
            impostor_pairs=impostors,
        )


def rates_at(cells: Cells, score: float) -> PairRates:
    """Return what the threshold at a score reaches, exactly where no cell holds it inside.

    Args:
        cells: the histogram.
        score: a float32 number; infinity accepts nothing.
    """
    inside = cells.lowest >= keys_of(score)
    kinds = np.stack([cells.impostors, cells.genuine])
    return PairRates.of(np.stack([kinds[:, inside].sum(axis=1), kinds.sum(axis=1)]))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
