"""Confidence intervals of metrics, by resampling what they are computed of.

R is the number of rows of a table of evidence, U the number of units that are drawn, B the number
of resamples.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt

from milepost.inferencers._evidence import Columns, Floats, Over, is_mean, zeros_and_ones
from milepost.inferencers._interval import Interval
from milepost.inferencers._resamples import ALL, DRAWN, LEFT_OUT, PAIRS, Resamples

Ints = npt.NDArray[np.int64]
Resampled: TypeAlias = Callable[[Floats], Mapping[str, Floats]]

_COLUMNS = {"class": "label", "group": "group"}
_FEWEST = 200  # resamples
_MOST_ROWS = 2 * 10**7  # in all resamples
_MOST_LEFT_OUT = 200
_BLOCK = 1 << 24  # weights at once: 128 MiB


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Confidence intervals by the bootstrap: how far a metric would move with other queries.

    Queries (or samples) are drawn with replacement, as many as there are, and the metric is
    computed anew; the interval is where the middle of those values lies, after the corrections
    that `find_interval` makes for skewness and for few queries.

    Model and gallery stay what they are. Where the queries of a class are alike (shots of one
    product, pages of one document) they are no independent evidence: `over="class"` draws whole
    classes, and so many units count as classes of equal size would: (number of rows)² / sum of
    (rows of a class)². A metric that is the share of rows with a 1 has the interval of Agresti and
    Coull instead, for as many rows as its resamples vary like. Where all queries agree in another
    value, the interval has no width; of one unit alone it is NaN.

    The same seed gives the same interval, whatever the batch size, the ranks and the order.
    Cost: the metrics of `resamples` resamples and of at most 200 parts of the data; above 20,000
    rows the resamples are fewer, so that 20 million rows are drawn, but never below 200. Memory:
    blocks of 128 MiB, and two copies of the evidence.

    Args:
        level: the share of intervals that should hold the true value.
        resamples: how many, at least 200.
        over: what is drawn: `"query"` (or sample), `"class"` (all rows of an equal label) or
            `"group"` (all rows of an equal group).
        seed: of the draws.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> table = {"id": np.arange(100), "mrr": np.linspace(0, 1, 100)}
        >>> from milepost.inferencers._evidence import weighted_means
        >>> interval = Bootstrap().intervals(lambda weights: weighted_means(table, weights), table)
        >>> round(interval["mrr"].low, 1), round(interval["mrr"].high, 1)
        (0.4, 0.6)
    """

    level: float = 0.95
    resamples: int = 1000
    over: Over = "query"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            msg = f"`level` must be above 0 and below 1, such as 0.95, got {self.level!r}"
            raise ValueError(msg)
        for name, least in (("resamples", _FEWEST), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                msg = f"`{name}` must be a whole number of at least {least}, got {value!r}"
                raise ValueError(msg)
        if self.over not in ("query", *_COLUMNS):
            msg = f"`over` must be 'query', 'class' or 'group', got {self.over!r}"
            raise ValueError(msg)

    @property
    def column(self) -> str | None:
        """The column whose values are drawn; None where rows are."""
        return _COLUMNS.get(self.over)

    def suits(self, table: Columns) -> bool:
        """Return whether a table has what is drawn; an empty one has nothing to miss."""
        return not table or self.column is None or self.column in table

    def intervals(self, resampled: Resampled, table: Columns) -> dict[str, Interval]:
        """Return the interval of each metric that can be resampled.

        Args:
            resampled: gives each metric's values, shape (B,), for weights of rows (B, R).
            table: one row a query or sample; it `suits`.
        """
        resamples = self.draw(resampled, table)
        return {} if resamples is None else self.intervals_of(resamples, table)

    def intervals_of(self, resamples: Resamples, table: Columns) -> dict[str, Interval]:
        """Return the intervals that resamples of a table give."""
        intervals = {}
        for name in (x for x in resamples.metrics if not x.endswith(PAIRS)):
            rows = zeros_and_ones(table.get(name))
            if len(rows) and is_mean(rows, resamples.value(name)) and resamples.units > 1:
                intervals[name] = resamples.share_interval(name, len(rows), self.level)
            else:
                intervals[name] = resamples.interval(name, self.level)
        return intervals

    def draw(self, resampled: Resampled, table: Columns) -> Resamples | None:
        """Return the metrics of resamples; None if the table is empty.

        Of one unit alone, which tells nothing of others, there are none but those of all rows.

        Args:
            resampled: as for `intervals`.
            table: as for `intervals`.
        """
        units = self.units_of(table)
        if not len(units):
            return None
        rng = np.random.default_rng(self.seed)
        weights = [(ALL, iter([np.ones((1, len(units)))]))]
        if units.max() > 0:
            weights += [(DRAWN, self._drawn(units, rng)), (LEFT_OUT, _leave_out(units, rng))]
        found = [(part, resampled(block)) for part, blocks in weights for block in blocks]
        sizes = [len(next(iter(values.values()), ())) for _, values in found]
        return Resamples(
            {x: np.concatenate([values[x] for _, values in found]) for x in found[0][1]},
            np.repeat([part for part, _ in found], sizes),
            len(units) ** 2 / float((np.bincount(units) ** 2).sum()),
            self.over,
            self.seed,
        )

    def units_of(self, table: Columns) -> Ints:
        """Return the number of each row's unit, from 0."""
        rows = len(next(iter(table.values()), ()))
        if self.column is None or not rows:
            return np.arange(rows)
        return np.unique(table[self.column], axis=0, return_inverse=True)[1].reshape(rows)

    def _drawn(self, units: Ints, rng: np.random.Generator) -> Iterator[Floats]:
        """Give the weights of all resamples, in blocks of shape (B, R)."""
        rows, count = len(units), int(units.max()) + 1
        resamples = min(self.resamples, max(_FEWEST, _MOST_ROWS // rows))
        for block in _blocks(resamples, rows):
            weights = np.empty((len(block), rows))
            for row in weights:
                row[:] = np.bincount(rng.integers(count, size=count), minlength=count)[units]
            yield weights


def _leave_out(units: Ints, rng: np.random.Generator) -> Iterator[Floats]:
    """Give the weights of the data without each unit, or each of at most 200 parts, in turn."""
    count = int(units.max()) + 1
    part = rng.permutation(count)[units] % _MOST_LEFT_OUT
    for block in _blocks(min(count, _MOST_LEFT_OUT), len(units)):
        yield (np.asarray(block)[:, None] != part).astype(np.float64)


def _blocks(count: int, rows: int) -> Iterator[range]:
    step = max(1, _BLOCK // rows)
    for start in range(0, count, step):
        yield range(start, min(start + step, count))
