"""Match rates: how well the score of a pair tells whether both are of one kind."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal, final

import numpy as np

from milepost.inferencers._evidence import Floats, Over
from milepost.inferencers._inferencer import PairInferencer, Rows, State, Table
from milepost.inferencers._match_points import (
    MatchPoints,
    OperatingPoint,
    check_calibration,
    check_group,
)
from milepost.inferencers._match_resampling import CountedPairs, resampled_rates
from milepost.inferencers._pair_rows import ROLES
from milepost.inferencers._pair_set import PairSet
from milepost.inferencers._refined_histogram import RefinedHistogram
from milepost.inferencers._row_rates import RowRates
from milepost.inferencers._score_tables import score_tables
from milepost.neighbors import Distance, Grid, Ranges


@final
class MatchRate(PairInferencer):
    """Decides for each pair by a threshold whether it is a match, and counts how often rightly.

    Pairs are all unordered pairs of the rows of role `query` or, where there are rows of role
    `gallery`, every query with every gallery row but its own copy, by id. A pair is genuine if its
    labels are equal, else an impostor pair. It matches at a threshold if its cosine or dot product
    is at least the threshold or, for l2, its Euclidean distance at most.

    Of all genuine pairs TAR is the share that match, FRR = 1 - TAR the share that do not; FAR is
    the share of impostor pairs that match. Where a threshold is chosen, it is among the scores
    that occur, and one that accepts nothing.

    - `match_rate_genuine@t`, `match_rate_impostor@t`: TAR and FAR at each threshold t;
    - `tar@far=f`: the largest TAR of a threshold with FAR <= f, `threshold@far=f` the threshold,
      NaN if nothing may match; where f is below `far_resolution` no impostor pair may match, and
      the value says no more than at `far_resolution`;
    - `far_resolution`: 1 / number of impostor pairs, the smallest FAR but 0 that they can show;
    - `eer`: FAR where it equals FRR, on a straight line between the two neighbouring thresholds;
      `eer_threshold`: the one where they differ least, of equals the one that accepts more;
    - `auc`: the chance that a genuine pair is closer than an impostor pair, ties counting half;
    - `best_f1`: the largest 2 TP / (TP + FP + genuine pairs), TP and FP being the genuine and
      impostor pairs that match; `best_f1_threshold`: of equals the one that accepts least;
    - `genuine_pairs`, `impostor_pairs`: how many there are. What needs pairs of a kind of which
      there are none is NaN.

    With `calibrate_on` no threshold is chosen on the queries: those for each FAR, the equal error
    rate and the best F1 are chosen, by the same definitions, on all unordered pairs of the rows of
    that role, and what they reach is measured: `tar@far=f` and `far@far=f`, `tar@eer` and `far@eer`
    (in place of `eer`), `tar@best_f1`, `far@best_f1` and `f1@best_f1` (in place of `best_f1`).

    With `group` the rates are also found for each group of queries, over the pairs of a query of
    the group with any row; in pairs of queries each row in turn is the query. Each TAR and FAR at a
    threshold comes as `tar@far=f/worst_group`, the smallest TAR or the largest FAR of a group.

    All but `auc` are exact, equal to those of a list of all scores. `auc` takes scores for tied
    that share a cell of a histogram: 2^18 over all the scores that there can be and, where these
    would not do, 2^19 more laid out where genuine and impostor scores mix. It is off by at most
    half the share of genuine-impostor combinations that share a cell, about 2^-16; where scores
    spread evenly over each cell, by less than 1e-6.
    Definitions follow ISO/IEC 19795-1, values those of scikit-learn's `roc_curve` (`eer` on its
    straight lines), `roc_auc_score` and `precision_recall_curve`.

    The result does not depend on batch size, order, blocks, number of workers or device: scores
    are defined to the bit, and counts are integers.

    Memory: a float32 copy of the embeddings, which stay where they are (in a memory-mapped file
    where they exceed a quarter of the budget); blocks of scores under `max_memory_bytes`; 10 MB of
    counters, 50 MB where many scores fall on few cells. It does not grow with the number of pairs.
    The first pass fills the histogram. The others refine it where something is read off, and score
    only the pairs there: mostly one pass, a few where scores crowd. For groups and for confidence
    intervals one pass more, about twice as long as the others together, counts the pairs of each
    query that match.

    Evidence: `"roc"` (TAR and FAR by threshold; FRR = 1 - TAR over FAR is the DET curve),
    `"scores"` (histograms of genuine and impostor pairs), `"operating_points"`; with a group or
    confidence intervals `"queries"` (the rates of each query; `auc` as the share of impostor pairs
    farther than its genuine pairs, `auc_of_impostors` as that of genuine pairs closer than its
    impostor pairs, both to a hundredth); `"groups"`, and `"worst_groups"`, which names them.
    Confidence intervals take a pair of queries to count as often as both together: w + v - 1 times
    where they are drawn w and v times, w times where they are drawn as one; a gallery stays.

    Args:
        embeddings: the output that holds embeddings, shape (N, d), computed with in float32.
        labels: the field that holds labels: integers, booleans, floats or strings, shape (N,), or
            rows of them, shape (N, C).
        thresholds: on the scale of the cosine, the dot product or the Euclidean distance.
        far: false accept rates, above 0 and at most 1.
        distance: `"cosine"`, `"dot"` or `"l2"`.
        calibrate_on: the role on whose pairs thresholds are chosen; None: on those reported on.
        group: the field by which results are split: integers, booleans, floats or strings. It
            leaves no pair out, as that of `Retrieval` would.
        name: prefixes the metrics where two inferencers would log the same name.

    Raises:
        ValueError: a threshold or a rate is out of range, or `calibrate_on` is the role of queries
            or gallery.
        UnknownNameError: the distance does not exist.

    Example:
        >>> match_rate = MatchRate(thresholds=[1.5], far=[0.5], distance="l2")
        >>> match_rate.update(
        ...     {
        ...         "id": np.arange(4),
        ...         "role": np.array(["query"] * 4),
        ...         "output": np.array([[0.0], [1.0], [3.0], [7.0]]),
        ...         "label": np.array(["a", "a", "b", "b"]),
        ...     }
        ... )
        >>> for round in range(2):
        ...     match_rate.start_round(round)
        ...     match_rate.scan(match_rate.rows(), round)
        ...     match_rate.end_round(round)
        >>> metrics = match_rate.compute()
        >>> metrics["match_rate_genuine@1.5"], metrics["tar@far=0.5"], metrics["threshold@far=0.5"]
        (0.5, 1.0, 4.0)
    """

    arrays: ClassVar[Literal["numpy", "native"]] = "native"

    def __init__(
        self,
        embeddings: str = "output",
        labels: str = "label",
        *,
        thresholds: float | Sequence[float] = (),
        far: float | Sequence[float] = (1e-2, 1e-3),
        distance: Distance = "cosine",
        calibrate_on: str | None = None,
        group: str | None = None,
        name: str = "match_rate",
    ) -> None:
        check_calibration(calibrate_on)
        check_group(group)
        self._points = MatchPoints(thresholds, far, distance)
        self.name = name
        self.fetches = (embeddings, labels, *([group] if group else []))
        self.roles = (*ROLES, *([calibrate_on] if calibrate_on else []))
        self._distance, self._calibrate_on, self._group = distance, calibrate_on, group
        self.reset()

    def reset(self) -> None:
        embeddings, labels, *columns = self.fetches
        pairs, own = (PairSet(embeddings, labels, x, self._distance) for x in (columns, ()))
        self._main, self._fit = RefinedHistogram(pairs), RefinedHistogram(own)
        self._rates: RowRates | None = None
        self._pass: RefinedHistogram | RowRates | None = None
        self._rounds = 0

    def update(self, rows: Rows) -> None:
        self._main.pairs.add(rows, self.max_memory_bytes)
        fits = np.asarray(rows["role"]) == self._calibrate_on
        if fits.any():
            role = np.where(fits, ROLES[0], "")  # to its pairs they are the queries
            self._fit.pairs.add({**rows, "role": role}, self.max_memory_bytes)

    def state(self) -> State:
        if self._pass is None:
            return {"pairs": self._main.pairs.state(), "fit": self._fit.pairs.state()}
        return self._pass.state()

    def merge(self, states: Sequence[State]) -> None:
        if self._pass is None:
            self._main.pairs.merge([state["pairs"] for state in states])
            self._fit.pairs.merge([state["fit"] for state in states])
        else:
            self._pass.merge(states)

    @property
    def rounds(self) -> int:
        if self._main.pairs.is_empty:
            return 0
        return self._rounds + (self._next_layout() is not None or self._has_rates_left())

    def rows(self) -> Rows:
        return (self._pass or self._main).pairs.rows()

    def start_round(self, round: int) -> None:
        if self._calibrate_on is not None and self._fit.pairs.is_empty:
            msg = f"`calibrate_on` must be a role that has rows, got {self._calibrate_on!r}"
            raise ValueError(msg)
        self._rounds = round + 1
        found = self._next_layout()
        if found is not None:
            histogram, layout = found
            histogram.start(layout)
            self._pass = histogram
        else:
            cells = self._main.cells()
            points = self._points.of(cells, self._fitted())
            self._rates = self._pass = RowRates(
                self._main.pairs, cells, points, is_grouped=self._group is not None
            )

    def scan(self, part: Rows, round: int) -> None:
        assert self._pass is not None
        compared = self._pass.pairs.compared(
            part,
            shared_ids=self.shared_ids,
            max_memory_bytes=self.max_memory_bytes,
            in_turn=self._pass is self._rates,
        )
        if compared is not None:
            self._pass.scan(compared)

    def compute(self) -> Mapping[str, float]:
        if self._pass is None:
            return {}
        metrics = self._points.metrics(self._main.cells(), self._fitted())
        return {**metrics, **(self._rates.metrics() if self._rates else {})}

    def evidence(self) -> Mapping[str, Table]:
        if self._pass is None:
            return {}
        cells = self._main.cells()
        points = {"operating_points": self._points.table(cells, self._fitted())}
        rates = self._rates.tables() if self._rates else {}
        return {**score_tables(cells, self._points.scale), **points, **rates}

    def resampled(
        self, tables: Mapping[str, Table], weights: Floats, over: Over
    ) -> Mapping[str, Floats]:
        within = self._main.pairs.is_within
        counted = CountedPairs(tables["queries"], weights, over, is_within=within)
        return resampled_rates(self._points, self._main.cells(), self._fitted(), counted)

    def _fitted(self) -> list[OperatingPoint] | None:
        """Return the thresholds that were chosen on the role that is calibrated on."""
        return None if self._calibrate_on is None else self._points.chosen(self._fit.cells())

    def _next_layout(self) -> tuple[RefinedHistogram, Grid | Ranges] | None:
        """Return the histogram that needs a pass more, and what that counts."""
        if self._calibrate_on is not None:
            layout = self._fit.next_layout(partial(self._points.wanted, fitted=None))
            if layout is not None:
                return self._fit, layout
        layout = self._main.next_layout(partial(self._points.wanted, fitted=self._fitted()))
        return None if layout is None else (self._main, layout)

    def _has_rates_left(self) -> bool:
        """Return whether a pass that counts the pairs of each query is still to come."""
        return self._rates is None and (self.will_resample or self._group is not None)
