"""The choice of a threshold on labelled pairs, and what it reaches on pairs it was not chosen on.

A pair is genuine if its labels are equal, else an impostor pair. The pairs of N rows are their
unordered pairs; for a distance that is not symmetric, each in both orders.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from milepost.errors import unknown_name
from milepost.neighbors._backend import Array, Backend, backend_of
from milepost.neighbors._cells import Cells, Ints, cells_of
from milepost.neighbors._distance_measure import DistanceMeasure, value_blocks
from milepost.neighbors._operating_points import (
    Point,
    at_precision,
    at_recall,
    best_f1,
    refinement,
    tar_at_far,
)
from milepost.neighbors._pair_rates import PairRates, rates_at
from milepost.neighbors._ranges import Ranges
from milepost.neighbors._score import as_rows

_MOST_CELLS = 128  # refined in one pass: 32 MiB of counters
_RATES = {"far": tar_at_far, "precision": at_precision, "recall": at_recall}

ReadPoint: TypeAlias = Callable[[Cells], Point]


@dataclass(frozen=True)
class Calibration:
    """What `MatchFinder.calibrate` found.

    Attributes:
        target: what was asked for.
        threshold: one of the values that occur among the pairs it was fitted on.
        fitted: what it reaches on the pairs it was fitted on.
        held_out: what it reaches on pairs it was not fitted on: what to expect of new data.
    """

    target: str
    threshold: float
    fitted: PairRates
    held_out: PairRates


@dataclass(frozen=True)
class LabelledRows:
    """Embeddings with the codes of their labels.

    Attributes:
        embeddings: float32 (N, d).
        codes: int64 (N,), equal where labels are.
    """

    embeddings: Array
    codes: Ints

    @classmethod
    def of(cls, embeddings: Array, labels: Array) -> "LabelledRows":
        """Return rows with a label each: integers, booleans, floats or strings, shape (N,)."""
        backend = backend_of(embeddings)
        rows = as_rows(embeddings, "embeddings", backend)
        names = np.asarray(backend_of(labels).numpy(labels))
        if names.shape != (len(rows),):
            msg = f"`labels` must have shape ({len(rows)},), one a row, got {names.shape}"
            raise ValueError(msg)
        return cls(rows, np.unique(names, return_inverse=True)[1])

    def split(self, share: float, seed: int) -> tuple["LabelledRows", "LabelledRows"]:
        """Return the rows of some classes, and those of the share of classes that is held out."""
        if not 0 < share < 1:
            msg = f"`held_out` must be above 0 and below 1, or (embeddings, labels), got {share}"
            raise ValueError(msg)
        classes = int(self.codes.max(initial=-1)) + 1
        order = np.random.default_rng(seed).permutation(classes)
        is_held = np.isin(self.codes, order[: round(share * classes)])
        return self._at(~is_held), self._at(is_held)

    def _at(self, chosen: npt.NDArray[np.bool_]) -> "LabelledRows":
        backend = backend_of(self.embeddings)
        mask = backend.array(chosen, like=self.embeddings)
        return LabelledRows(self.embeddings[mask], self.codes[chosen])

    def check(self, part: str) -> None:
        """Raise an error unless there are pairs of both kinds."""
        counts = np.bincount(self.codes)
        genuine = int((counts * (counts - 1) // 2).sum())
        impostors = len(self.codes) * (len(self.codes) - 1) // 2 - genuine
        if not genuine or not impostors:
            msg = (
                f"the rows {part} must have genuine and impostor pairs, got {genuine} and "
                f"{impostors}; give more labels, or `held_out` as (embeddings, labels)"
            )
            raise ValueError(msg)


def reader_of(target: str) -> ReadPoint:
    """Return what reads the target off a histogram.

    Args:
        target: `"best_f1"`, or `"far=..."`, `"precision=..."` or `"recall=..."` with a rate.
    """
    name, _, number = target.partition("=")
    if target == "best_f1":
        return best_f1
    if name not in _RATES:
        raise unknown_name("target", target, ["best_f1", *(f"{name}=0.1" for name in _RATES)])
    try:
        rate = float(number)
    except ValueError:
        rate = math.nan
    if not 0 < rate <= 1:
        msg = f'`target` must be like "{name}=0.1", above 0 and at most 1, got {target!r}'
        raise ValueError(msg)
    return lambda cells: _RATES[name](cells, rate)


def fit(distance: DistanceMeasure, rows: LabelledRows, target: str) -> tuple[float, PairRates]:
    """Return the threshold that meets the target, and what it reaches there.

    Every pass over the pairs fills a histogram, each but the first in finer cells where the target
    is: two or three passes. Memory: blocks of values, and 40 MB; it does not grow with the pairs.
    """
    read, ranges = reader_of(target), Ranges.everything()
    cells = cells_of(ranges, _histogram(distance, rows, ranges))
    while (ranges := refinement(cells, [point := read(cells)], _MOST_CELLS)).cells:
        cells = cells.refined(ranges, _histogram(distance, rows, ranges))
    if math.isnan(point.score):
        msg = f"no threshold reaches {target!r} on the rows fitted on; ask for less"
        raise ValueError(msg)
    threshold = point.score if distance.is_inverted else 0.0 - point.score
    return threshold, rates_at(cells, point.score)


def measure(distance: DistanceMeasure, rows: LabelledRows, threshold: float) -> PairRates:
    """Return what a threshold reaches."""
    least = threshold if distance.is_inverted else -threshold
    counts = np.zeros((2, 2), np.int64)
    for scores, same in _scored_pairs(distance, rows):
        matches = scores >= least
        for kind, pairs in enumerate((~same, same)):
            counts[:, kind] += int((matches & pairs).sum()), int(pairs.sum())
    return PairRates.of(counts)


def _histogram(distance: DistanceMeasure, rows: LabelledRows, ranges: Ranges) -> Ints:
    """Return how many impostor and genuine pairs have their score in each cell."""
    backend = backend_of(rows.embeddings)
    cell_of = ranges.lookup(rows.embeddings, backend)
    counts = backend.array(np.zeros(2 * (ranges.cells + 1), np.int64), like=rows.embeddings)
    for scores, same in _scored_pairs(distance, rows):
        backend.tally(counts, cell_of(scores) + same * (ranges.cells + 1))
    return backend.numpy(counts).reshape(2, -1)[:, :-1]


def _scored_pairs(distance: DistanceMeasure, rows: LabelledRows) -> Iterator[tuple[Array, Array]]:
    """Yield the scores of pairs, larger is closer, and which of the pairs are genuine."""
    x, upper = rows.embeddings, distance.is_symmetric
    backend = backend_of(x)
    codes = backend.array(rows.codes, like=x)
    for at, other, values in value_blocks(distance, x, x, skip_below=upper):
        scores = values if distance.is_inverted else 0.0 - values
        same = codes[at, None] == codes[None, other]
        if at == other:
            pairs = _pairs_within(at.stop - at.start, upper, backend, like=x)
            scores, same = scores[pairs], same[pairs]
        yield scores, same


def _pairs_within(size: int, upper: bool, backend: Backend, like: Array) -> Array:
    """Return which pairs of a block's own rows count."""
    others = ~np.eye(size, dtype=bool)
    return backend.array(np.triu(others) if upper else others, like=like)
