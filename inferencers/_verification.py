"""Verification: how well the score of a given pair tells whether both are of one kind."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, final

import numpy as np

from milepost.inferencers._column import flags
from milepost.inferencers._evidence import Floats, Over
from milepost.inferencers._inferencer import PairInferencer, Rows, State, Table
from milepost.inferencers._label_table import as_labels
from milepost.inferencers._listed_pairs import ListedPairs
from milepost.inferencers._match_points import MatchPoints, check_calibration, check_group
from milepost.inferencers._pair_list import PairList
from milepost.inferencers._pair_report import PairReport
from milepost.inferencers._scored_pairs import Columns, ScoredPairs, score_rows
from milepost.neighbors import Distance, backend_of, cells_of_list


@final
class Verification(PairInferencer):
    """Decides for each given pair by a threshold whether it is a match, as in face verification.

    Pairs come in one of two forms. Each row of the data is a pair: `embeddings` names two arrays,
    and `labels` is 1 (genuine) or 0 (impostor). Or `pairs` lists the ids of two rows each:
    `embeddings` names one array, and a pair is genuine as the list says or, where it does not say,
    if the labels of its rows are equal. The left row is of role `query`; so is the right one, but
    where there are rows of role `gallery` it is one of these.

    The metrics are those of `MatchRate`, all of them exact, `auc` too, and

    - `best_accuracy`: the largest share of pairs that a threshold decides rightly, with
      `best_accuracy_threshold`; of equals the one that accepts least;
    - `average_precision`: the mean over genuine pairs of TP / (TP + FP) at their own score;
    - `fold_accuracy`: with `folds`, the mean over folds of the share of a fold's pairs that are
      decided rightly by the threshold of best accuracy on all other folds, the protocol of Labeled
      Faces in the Wild (view 2); `fold_accuracy_standard_error`: the standard deviation of the F
      folds (over F - 1) / sqrt(F).

    With `calibrate_on` thresholds are chosen on the pairs of that role, as by `MatchRate`; besides,
    `tar@best_accuracy`, `far@best_accuracy` and `accuracy@best_accuracy` replace `best_accuracy`.
    With `group` rates are also found for the pairs of each group.

    Definitions are those of `MatchRate`. `best_accuracy`, `best_f1` and `average_precision` are
    those of sentence-transformers' `BinaryClassificationEvaluator` and of scikit-learn; thresholds
    are scores that occur, not points between them.

    The result does not depend on batch size, order, number of workers or device. Memory: about 20
    bytes a pair and, where pairs are listed, a float32 copy of the embeddings.

    Evidence: `"queries"` (a row a pair: its score, and whether its fold's threshold decides it
    rightly), `"folds"`, `"roc"`, `"scores"`, `"operating_points"`, `"groups"`, `"worst_groups"`.
    Confidence intervals draw pairs as if they were independent; where they share identities, give
    `folds` that do not.

    Args:
        embeddings: two arrays of shape (N, d), or one where `pairs` lists ids.
        labels: 1 or True for genuine pairs, 0 for impostor pairs: a field or, where pairs are
            listed, a column of the list or, if it has none of that name, a field of labels of rows.
        pairs: columns `left` and `right` of ids, P each, and maybe `role` (of the pair: `query` or
            `calibrate_on`), `labels`, `folds` and `group`; or tuples of two ids or, with the label,
            three.
        thresholds: on the scale of the cosine, the dot product or the Euclidean distance.
        far: false accept rates, above 0 and at most 1.
        folds: how many, of equal size, in the order of the list or of ids; or the field, or column
            of the list, that tells a pair's fold.
        distance: `"cosine"`, `"dot"` or `"l2"`.
        calibrate_on: the role on whose pairs thresholds are chosen; None: on those reported on.
        group: the field, or column of the list, by which results are split.
        name: prefixes the metrics where two inferencers would log the same name.

    Raises:
        ValueError: an argument is out of range, or ids of the list are not in the data.
        UnknownNameError: the distance, or a column of `pairs`, does not exist.

    Example:
        >>> verification = Verification(folds=2, distance="l2")
        >>> verification.update(
        ...     {
        ...         "id": np.arange(4),
        ...         "role": np.array(["query"] * 4),
        ...         "left": np.array([[0.0], [1.0], [3.0], [7.0]]),
        ...         "right": np.array([[0.5], [9.0], [4.0], [2.0]]),
        ...         "same": np.array([1, 0, 1, 0]),
        ...     }
        ... )
        >>> metrics = verification.compute()
        >>> metrics["best_accuracy"], metrics["best_accuracy_threshold"], metrics["fold_accuracy"]
        (1.0, 1.0, 0.75)
    """

    roles: tuple[str, ...]
    arrays: ClassVar[Literal["numpy", "native"]] = "native"

    def __init__(
        self,
        embeddings: str | tuple[str, str] = ("left", "right"),
        labels: str = "same",
        *,
        pairs: Mapping[str, Any] | Sequence[tuple[Any, ...]] | None = None,
        thresholds: float | Sequence[float] = (),
        far: float | Sequence[float] = (1e-2, 1e-3),
        folds: int | str | None = None,
        distance: Distance = "cosine",
        calibrate_on: str | None = None,
        group: str | None = None,
        name: str = "verification",
    ) -> None:
        if isinstance(embeddings, str) != (pairs is not None):
            msg = (
                "`embeddings` must name two arrays, or one where `pairs` lists ids, "
                f"got {embeddings!r}"
            )
            raise ValueError(msg)
        if type(folds) is int and folds < 2:
            msg = f"`folds` must be at least 2, or a field, got {folds}"
            raise ValueError(msg)
        check_calibration(calibrate_on)
        check_group(group)
        self.name = name
        self._points = MatchPoints(thresholds, far, distance, with_accuracy=True)
        self._distance, self._calibrate_on = distance, calibrate_on
        self._folds, self._group = folds, group
        told = dict.fromkeys(field for field in (folds, group) if isinstance(field, str))
        self._told = tuple(told)
        self._list: PairList | None = None
        if pairs is None:
            self.fetches = (*embeddings, labels, *told)
            self.roles = ("query", *([calibrate_on] if calibrate_on else []))
        else:
            roles = ("query", calibrate_on) if calibrate_on else ("query",)
            self._list = PairList(pairs, labels, told, roles)
            self.fetches = (str(embeddings), *([labels] if self._list.same is None else []))
            self.roles = ("query", "gallery")
        self.reset()

    def reset(self) -> None:
        self._scored = ScoredPairs(("id", "role", "score", "same", *self._told))
        self._listed: ListedPairs | None = None  # until its rows are scanned
        if self._list is not None:
            self._listed = ListedPairs(self._list, self.fetches, self._distance)
        self._totals: ScoredPairs | ListedPairs = self._listed or self._scored

    def update(self, rows: Rows) -> None:
        if self._listed is not None:
            self._listed.add(rows, self.max_memory_bytes)
            return
        left, right, labels, *told = self.fetches
        ids = np.array(rows["id"])
        arrays = {name: backend_of(rows[name]).numpy(rows[name]) for name in (labels, *told)}
        columns = {name: np.array(as_labels(arrays[name], name)) for name in told}
        score = score_rows(rows, (left, right), self._distance)
        same = flags({"id": ids, **arrays}, labels)
        role = np.array(rows["role"])
        self._scored.add({**columns, "id": ids, "role": role, "score": score, "same": same})

    def state(self) -> State:
        return self._totals.state()

    def merge(self, states: Sequence[State]) -> None:
        self._totals.merge(states)

    @property
    def rounds(self) -> int:
        return int(self._listed is not None and not self._listed.is_empty)

    def rows(self) -> Rows:
        return {} if self._listed is None else self._listed.rows()

    def start_round(self, round: int) -> None:
        self._totals = self._scored

    def scan(self, part: Rows, round: int) -> None:
        if self._listed is not None:
            self._scored.add(self._listed.scored(part))

    def compute(self) -> Mapping[str, float]:
        report = self._report()
        return {} if report is None else report.metrics()

    def evidence(self) -> Mapping[str, Table]:
        report = self._report()
        if report is None:
            return {}
        tables = report.tables()
        own = self._part(fits=False)["is_own"]
        queries = {name: column[own] for name, column in tables["queries"].items()}
        return {**tables, "queries": queries}

    def resampled(
        self, tables: Mapping[str, Table], weights: Floats, over: Over
    ) -> Mapping[str, Floats]:
        report = self._report()
        return {} if report is None else report.resampled(weights)

    def _report(self) -> PairReport | None:
        """Return what is told of the pairs; None where there are none yet.

        Raises:
            ValueError: listed pairs are not in the data, or there are none to calibrate on.
        """
        if self._totals is not self._scored:
            return None
        if self._list is not None:
            self._list.check(self._scored.all()["id"])
        pairs, fitted = self._part(fits=False), None
        if not len(pairs["id"]):
            return None
        if self._calibrate_on is not None:
            own = self._part(fits=True)
            if not len(own["id"]):
                msg = f"`calibrate_on` must be a role that has pairs, got {self._calibrate_on!r}"
                raise ValueError(msg)
            fitted = self._points.chosen(cells_of_list(own["score"], own["same"]))
        return PairReport(pairs, self._points, fitted, self._folds, self._group)

    def _part(self, *, fits: bool) -> Columns:
        """Return the pairs of all workers that are calibrated on, or those reported on."""
        pairs = self._scored.all()
        some = pairs["role"] == (self._calibrate_on if fits else "query")
        return {name: column[some] for name, column in pairs.items()}
