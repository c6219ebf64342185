"""The labels of some queries, compared with all labels of the gallery.

Q is the number of queries, V that of their different labels, U that of all labels, K the length of
lists of neighbours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from milepost.inferencers._kind_table import codes_of

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class LeftOut(NamedTuple):
    """The groups whose gallery rows queries leave out.

    Attributes:
        groups: int64 (Q,), their codes.
        counts: gives int64 (P, U) for groups (P,): how many of their rows bear each label.
    """

    groups: Ints
    counts: Callable[[Ints], Ints]


@dataclass(frozen=True)
class Compared:
    """Some queries' labels, compared with all labels.

    Attributes:
        queries: int64 (Q,), their label codes.
        rows: int64 (Q,), where the tables have them; empty where equal labels are relevant.
        relevant: bool (V, U + 1), the last column for no label; None: equal labels are relevant.
        gains: float64 (V, U + 1); None: relevant labels gain 1.
    """

    queries: Ints
    rows: Ints
    relevant: Bools | None
    gains: Floats | None

    def relevance(self, neighbors: Ints) -> Bools:
        """Return which neighbours (Q, K) are relevant; a neighbour -1 is not."""
        if self.relevant is None:
            return np.asarray(neighbors == self.queries[:, None])
        return self.relevant[self.rows[:, None], neighbors]

    def gain(self, neighbors: Ints) -> Floats:
        """Return the gains of neighbours (Q, K); that of a neighbour -1 is 0."""
        assert self.gains is not None
        return self.gains[self.rows[:, None], neighbors]

    def best_gains(
        self, own: Ints, counts: Ints, depth: int, left_out: LeftOut | None = None
    ) -> Floats:
        """Return the largest gains of each query's gallery, in descending order, (Q, depth).

        Args:
            own: int64 (Q,), the label of the gallery row that a query leaves out, or -1.
            counts: int64 (U,), how many gallery rows bear each label.
            depth: how many to return; 0 where there are fewer rows.
            left_out: the groups that queries leave out besides, if there are any.
        """
        assert self.gains is not None
        labels = len(counts)
        groups = own * 0 if left_out is None else left_out.groups
        _, first, inverse = np.unique(
            codes_of((self.rows, own, groups)), return_index=True, return_inverse=True
        )
        gains = self.gains[self.rows[first], :labels]
        left = np.repeat(counts[None, :], len(first), axis=0)
        if left_out is not None:
            left -= left_out.counts(groups[first])
        own = own[first]
        (some,) = np.nonzero(own >= 0)
        left[some, own[some]] -= 1
        gains[left == 0] = 0.0
        if depth + 1 < labels:  # one of so many labels may have no row left
            best = np.argpartition(-gains, depth, axis=1)[:, : depth + 1]
            gains, left = _in_order(gains, left, best)
        order = np.argsort(-gains, axis=1, kind="stable")
        return _repeated(*_in_order(gains, left, order), depth)[inverse]


def _in_order(gains: Floats, left: Ints, order: Ints) -> tuple[Floats, Ints]:
    return np.take_along_axis(gains, order, axis=1), np.take_along_axis(left, order, axis=1)


def _repeated(values: Floats, counts: Ints, depth: int) -> Floats:
    """Return each value of a row as often as counted, up to a depth, (P, depth); then 0."""
    ends = np.cumsum(counts, axis=1).clip(max=depth)
    rows = np.arange(len(values))[:, None]
    offsets = rows * (depth + 1)  # all rows are searched at once, each in numbers of its own
    ranks = offsets + np.arange(depth)[None, :]
    at = np.searchsorted((offsets + ends).ravel(), ranks.ravel(), side="right")
    columns = at.reshape(ranks.shape) - rows * values.shape[1]
    padded = np.append(values, np.zeros((len(values), 1)), axis=1)
    return np.asarray(padded[rows, columns.clip(max=values.shape[1])])
