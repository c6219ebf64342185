"""The curve and the histogram of pair scores, as tables of evidence."""

import numpy as np

from milepost.inferencers._inferencer import Table
from milepost.inferencers._threshold_scale import ThresholdScale
from milepost.neighbors import Cells

_ROC_BITS = 14  # of 23 that tell the scores of an octave apart
_BARS = 100


def score_tables(cells: Cells, scale: ThresholdScale) -> dict[str, Table]:
    """Return `"roc"`, TAR and FAR by threshold, and `"scores"`, how many pairs have which score.

    Args:
        cells: the histogram.
        scale: that of thresholds.
    """
    return {"roc": _roc(cells, scale), "scores": _scores(cells, scale)}


def _roc(cells: Cells, scale: ThresholdScale) -> Table:
    """Return TAR and FAR at thresholds 1/512 of an octave apart, or a cell."""
    last = np.flatnonzero(np.diff(cells.lowest >> _ROC_BITS, append=-(2**31)))
    impostors, genuine = cells.kinds
    with np.errstate(invalid="ignore"):  # 0 / 0: no such pairs
        return {
            "threshold": np.array([scale.threshold_of(s) for s in cells.scores[last]]),
            "match_rate_genuine": cells.true[last] / np.float64(genuine),
            "match_rate_impostor": cells.false[last] / np.float64(impostors),
        }


def _scores(cells: Cells, scale: ThresholdScale) -> Table:
    """Return how many pairs lie between edges that are evenly spaced, to within a cell."""
    scores = np.where(np.isinf(cells.scores), cells.highest, cells.scores)  # of the lowest cell
    place = np.array([scale.threshold_of(score) for score in scores])
    least, most = (place.min(), place.max()) if len(place) else (0.0, 0.0)
    edges = np.linspace(least, most, _BARS + 1)
    bars = (np.searchsorted(edges, place, side="right") - 1).clip(max=_BARS - 1)
    genuine, impostors = (
        np.bincount(bars, kind, _BARS).astype(np.int64) for kind in (cells.genuine, cells.impostors)
    )
    return {"lower": edges[:-1], "upper": edges[1:], "genuine": genuine, "impostors": impostors}
