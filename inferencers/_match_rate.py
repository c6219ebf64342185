"""Match rates: how well the score of a pair tells whether both are of one kind."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, final

import numpy as np

from milepost.inferencers._inferencer import PairInferencer, Rows, State, Table
from milepost.inferencers._label_table import LabelTable
from milepost.inferencers._pair_rows import ROLES, PairRows, beside, positions_of
from milepost.neighbors import (
    Cells,
    Distance,
    Grid,
    Point,
    Ranges,
    accepted_share,
    area_error,
    area_under_curve,
    best_f1,
    cells_of,
    check_distance,
    equal_error,
    longest_row,
    pair_histogram,
    refinement,
    tar_at_far,
)

_CODE = "label_code"
_AUC_BOUND, _AUC_SPREAD = 2.0**-16, 2.0**-20  # errors above which cells are cut
_AUC_CELLS = 1 << 19  # see `Grid.even`
_ROC_BITS = 14  # of 23 that tell the scores of an octave apart
_MOST_CELLS = 128  # refined in one pass: at most 32 MiB of counters


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
    only the pairs there: mostly one pass, a few where scores crowd.

    Args:
        embeddings: the output that holds embeddings, shape (N, d), computed with in float32.
        labels: the field that holds labels: integers, booleans, floats or strings, shape (N,), or
            rows of them, shape (N, C).
        thresholds: on the scale of the cosine, the dot product or the Euclidean distance.
        far: false accept rates, above 0 and at most 1.
        distance: `"cosine"`, `"dot"` or `"l2"`.
        name: prefixes the metrics where two inferencers would log the same name.

    Raises:
        ValueError: a threshold or a rate is out of range.
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
        thresholds: Sequence[float] = (),
        far: float | Sequence[float] = (1e-2, 1e-3),
        distance: Distance = "cosine",
        name: str = "match_rate",
    ) -> None:
        check_distance(distance)
        far = [far] if isinstance(far, int | float) else far
        if any(not 0 < rate <= 1 for rate in far):
            msg = f"`far` must be above 0 and at most 1, got {far!r}"
            raise ValueError(msg)
        if any(not math.isfinite(t) or (distance == "l2" and t < 0) for t in thresholds):
            msg = f"`thresholds` must be finite, and for 'l2' not negative, got {thresholds!r}"
            raise ValueError(msg)
        self.name = name
        self.fetches = (embeddings, labels)
        self._thresholds, self._far, self._distance = tuple(thresholds), tuple(far), distance
        self.reset()

    def reset(self) -> None:
        self._collected = PairRows(self.fetches[0], self.fetches[1])
        self._others: list[LabelTable] = []  # those of other workers
        self._table: LabelTable | None = None
        self._longest = 0.0  # of the rows of all workers
        self._layout: Grid | Ranges = Grid.over(self._distance)
        self._counts = np.zeros(0, np.int64)
        self._kept: Cells | None = None  # the histogram of the rounds before
        self._now: Cells | None = None  # the histogram with what this round counted
        self._round = -1

    def update(self, rows: Rows) -> None:
        self._collected.add(rows, self.max_memory_bytes)
        self._table = None

    def state(self) -> State:
        if self._round < 0:
            table = LabelTable.sum([self._collected.table(), *self._others])
            longest = max(self._longest, self._own_longest())
            return {"labels": table.labels, "counts": table.counts, "longest": np.array(longest)}
        return {"pairs": self._counts}

    def merge(self, states: Sequence[State]) -> None:
        if self._round < 0:
            self._others += [LabelTable(state["labels"], state["counts"]) for state in states]
            self._longest = max([self._longest, *(float(state["longest"]) for state in states)])
            self._table = None
        else:
            self._counts = np.sum([self._counts, *(state["pairs"] for state in states)], axis=0)
            self._now = None

    @property
    def rounds(self) -> int:
        if self._round < 0:
            return int(self._labels().counts[:, 0].any())
        return self._round + 1 + (self._next_layout().cells > 0)

    def rows(self) -> Rows:
        table, role = self._labels(), self._gallery
        rows = self._collected.of(role)
        return {
            "id": rows.ids,
            "role": np.full(len(rows.ids), role),
            self.fetches[0]: rows.embeddings,
            _CODE: table.codes(rows.labels),
        }

    def start_round(self, round: int) -> None:
        self._labels()
        if self._round < 0:
            self._longest = max(self._longest, self._own_longest())
            self._layout = Grid.over(self._distance, self._longest)
        else:
            self._kept, self._layout = self._cells(), self._next_layout()
        self._round = round
        self._counts, self._now = np.zeros((2, self._layout.cells), np.int64), None

    def scan(self, part: Rows, round: int) -> None:
        own, ids = self._collected.of("query"), part["id"]
        if not len(own.ids) or not len(ids) or not self._layout.cells:
            return
        within = self._gallery == "query"  # then a pair is counted by the owner of its smaller id
        copies = self.shared_ids and not within
        self._now = None
        self._counts += pair_histogram(
            own.embeddings,
            beside(part[self.fetches[0]], own.embeddings),
            self._codes,
            part[_CODE],
            self._layout,
            distance=self._distance,
            first=np.searchsorted(ids, own.ids, side="right") if within else None,
            exclude=positions_of(own.ids, ids) if copies else None,
            max_memory_bytes=self.max_memory_bytes,
        )

    def compute(self) -> Mapping[str, float]:
        if self._round < 0:
            return {}
        cells, metrics = self._cells(), {}
        for name, threshold_name, point in self._points(cells):
            metrics[name] = point.value
            if threshold_name:
                metrics[threshold_name] = self._threshold(point.score)
        genuine, impostors = int(cells.genuine.sum()), int(cells.impostors.sum())
        metrics["far_resolution"] = 1 / impostors if impostors else math.nan
        return {**metrics, "genuine_pairs": genuine, "impostor_pairs": impostors}

    def evidence(self) -> Mapping[str, Table]:
        """Return `"roc"`: TAR and FAR at thresholds 1/512 of an octave apart, or a cell."""
        if self._round < 0:
            return {}
        cells = self._cells()
        last = np.flatnonzero(np.diff(cells.lowest >> _ROC_BITS, append=-(2**31)))
        with np.errstate(invalid="ignore"):  # 0 / 0: no such pairs
            return {
                "roc": {
                    "threshold": np.array([self._threshold(s) for s in cells.scores[last]]),
                    "match_rate_genuine": (cells.genuine.cumsum() / cells.genuine.sum())[last],
                    "match_rate_impostor": (cells.impostors.cumsum() / cells.impostors.sum())[last],
                }
            }

    def _labels(self) -> LabelTable:
        """Return the labels of the run, known when totals are merged."""
        if self._table is None:
            self._table = LabelTable.sum([self._collected.table(), *self._others])
            self._gallery = "gallery" if self._table.counts[:, 1].any() else "query"
            self._codes = self._table.codes(self._collected.of("query").labels)
        return self._table

    def _own_longest(self) -> float:
        """Return the length of the longest row of this worker, where scores depend on it."""
        if self._distance == "cosine":
            return 1.0
        return max(longest_row(self._collected.of(role).embeddings) for role in ROLES)

    def _cells(self) -> Cells:
        """Return the histogram as it is by now."""
        if self._now is None:
            self._now = (
                cells_of(self._layout, self._counts)
                if self._kept is None
                else self._kept.refined(self._layout, self._counts)
            )
        return self._now

    def _next_layout(self) -> Grid | Ranges:
        """Return what the next round counts: at most once finer cells everywhere, then ranges."""
        cells = self._cells()
        if isinstance(self._layout, Grid) and self._round == 0:
            bound, spread = area_error(cells)
            if bound > _AUC_BOUND or spread > _AUC_SPREAD:
                return self._layout.even(self._counts, _AUC_CELLS)
        points = [point for *_, point in self._points(cells)]
        return refinement(cells, points, _MOST_CELLS)

    def _points(self, cells: Cells) -> list[tuple[str, str, Point]]:
        """Return what is read from the histogram: name, name of its threshold, point."""
        points = []
        for threshold in self._thresholds:
            score = self._score(threshold)
            for kind, pairs in (("genuine", cells.genuine), ("impostor", cells.impostors)):
                point = accepted_share(cells, pairs, score)
                points.append((f"match_rate_{kind}@{threshold:.12g}", "", point))
        for far in self._far:
            name = f"far={far:.12g}"
            points.append((f"tar@{name}", f"threshold@{name}", tar_at_far(cells, far)))
        points.append(("eer", "eer_threshold", equal_error(cells)))
        points.append(("auc", "", area_under_curve(cells)))
        points.append(("best_f1", "best_f1_threshold", best_f1(cells)))
        return points

    def _threshold(self, score: float) -> float:
        """Return the threshold that accepts scores of at least this one."""
        return math.sqrt(-score) if self._distance == "l2" else score

    def _score(self, threshold: float) -> np.float32:
        """Return the smallest float32 score that a threshold accepts."""
        least, most = np.float32(-np.inf), np.float32(np.inf)
        with np.errstate(over="ignore"):
            score = np.float32(threshold if self._distance != "l2" else -(threshold**2))
        while score < most and not self._accepts(threshold, score):
            score = np.nextafter(score, most)
        while score > least and self._accepts(threshold, np.nextafter(score, least)):
            score = np.nextafter(score, least)
        return score

    def _accepts(self, threshold: float, score: np.float32) -> bool:
        if self._distance == "l2":
            return math.sqrt(max(0.0, -float(score))) <= threshold
        return float(score) >= threshold
