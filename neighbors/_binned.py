"""The cells of all pairs of a block, most of them without their score.

A score is float32(s), and a float64 product gives s with a tiny error. Where neither the rounding
to float32 nor the error can carry s over the border of a bin, its bin is that of the score. The
few other pairs get their score as it is defined.
"""

from milepost.neighbors._backend import Array, Backend
from milepost.neighbors._grid import UNITS, GridLookup
from milepost.neighbors._score import (
    Distance,
    exact_scores,
    listed_scores,
    pair_sums,
    relative_error,
    rounded,
    score_block,
)

_MANY = 16  # one of so many pairs near a border; then scoring all is quicker


def binned(
    queries: Array, gallery: Array, cells_of: GridLookup, distance: Distance, backend: Backend
) -> Array:
    """Return the cells of prepared rows, int64 (Q, G).

    Args:
        queries: prepared rows, float32 (Q, d).
        gallery: prepared rows, float32 (G, d).
        cells_of: the lookup of the grid.
        distance: what the score is made of.
        backend: what owns the arrays.
    """
    if not cells_of.is_coarse or cells_of.may_overflow:
        return cells_of(score_block(queries, gallery, distance, backend))
    sums, reach, exact = pair_sums(queries, gallery, distance, backend)
    if exact:
        return cells_of(exact_scores(sums, reach, distance, backend))
    largest = reach if isinstance(reach, float) else float(reach.max())
    error = cells_of.half_ulp + relative_error(queries.shape[1]) * largest
    margin = min(UNITS, int(error / cells_of.unit) + 2)
    units = cells_of.units(sums)
    beyond = units + margin
    beyond &= UNITS - 1
    (at,) = backend.positions((beyond <= 2 * margin).reshape(-1))
    if _MANY * len(at) > len(queries) * len(gallery):
        return cells_of(score_block(queries, gallery, distance, backend))
    cells = cells_of.cells(units)
    some = reach if isinstance(reach, float) else reach.reshape(-1)[at]
    scores, doubt = rounded(sums.reshape(-1)[at], some, queries.shape[1], distance, backend)
    doubtful = at[doubt]
    if len(doubtful):
        i, j = doubtful // len(gallery), doubtful % len(gallery)
        scores[doubt] = listed_scores(queries, gallery, i, j, distance, backend)
    cells.reshape(-1)[at] = cells_of(scores)
    return cells
