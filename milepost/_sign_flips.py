"""A test of whether paired differences are about zero."""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_DRAWS = 10_000
_FEWEST_DRAWS = 1_000
_MOST_FLIPS = 2 * 10**8
_BLOCK = 1 << 23  # signs at once: 64 MiB


def sign_flip_p(differences: Floats, *, seed: int = 0) -> Floats:
    """Return the two-sided p value of each column of paired differences.

    If it made no difference which of the two is which, any differences might have had the other
    sign: p is the share of choices of signs that give a sum as far from zero. All choices are
    counted where they are at most 10,000 (up to 13 differences that are not zero). Else 10,000
    are drawn, at most 2 * 10^8 signs but 1,000 choices at least, and the one that was observed is
    counted among them, so that p is never 0 (Phipson and Smyth, Statistical Applications in
    Genetics and Molecular Biology 9, 2010).

    Args:
        differences: shape (N, M).
        seed: of the draws.

    Returns:
        shape (M,).

    Example:
        >>> sign_flip_p(np.array([[1.0], [2.0], [3.0], [-0.5]]))
        array([0.25])
    """
    p = np.ones(differences.shape[1])
    for column, each in enumerate(differences.T):
        moved = each[each != 0]
        if 0 < moved.size < np.log2(_DRAWS):
            p[column] = _exact(moved)
    many = (differences != 0).sum(axis=0) >= np.log2(_DRAWS)
    p[many] = _drawn(differences[:, many], np.random.default_rng(seed))
    return p


def _exact(differences: Floats) -> float:
    signs = np.array(list(itertools.product((-1, 1), repeat=differences.size)))
    return float(_as_far(signs @ differences, differences.sum()).mean())


def _drawn(differences: Floats, rng: np.random.Generator) -> Floats:
    rows, columns = differences.shape
    totals, seen, draws = differences.sum(axis=0), np.ones(columns), 1
    for signs in _signs(rows, rng) if columns else ():
        seen += _as_far(signs @ differences, totals).sum(axis=0)
        draws += len(signs)
    return seen / draws


def _signs(rows: int, rng: np.random.Generator) -> Iterator[Floats]:
    draws = min(_DRAWS, max(_FEWEST_DRAWS, _MOST_FLIPS // rows))
    step = max(1, _BLOCK // rows)
    for start in range(0, draws, step):
        count = min(step, draws - start)
        bits = np.unpackbits(rng.integers(256, size=(count, -(-rows // 8)), dtype=np.uint8), axis=1)
        yield np.where(bits[:, :rows], 1.0, -1.0)


def _as_far(sums: Floats, observed: Floats) -> npt.NDArray[np.bool_]:
    """Return which sums are as far from zero, but for rounding."""
    return np.abs(sums) >= np.abs(observed) * (1 - 1e-12)
