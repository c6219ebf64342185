"""Evidence on its way from inferencers to monitors, and confidence intervals beside metrics."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from milepost.callbacks import Loop, Record
from milepost.callbacks.monitors import Monitor
from milepost.errors import CoverageError
from milepost.inferencers import (
    BinaryClassificationStats,
    Bootstrap,
    Inferencer,
    MatchRate,
    Retrieval,
    Rows,
    ScalarStats,
    State,
    Table,
)
from milepost.runners import InferenceRunner, evaluate
from milepost.runners._rounds import blocks

RNG = np.random.default_rng(0)
DATA = {"output": RNG.normal(size=(40, 3)), "label": RNG.integers(0, 4, 40)}


class Mean(Inferencer):
    """The mean of a field, with what it was asked for."""

    name = "mean"
    fetches = ("output",)

    def __init__(self, table: Mapping[str, Any] | None = None) -> None:
        self.table = table or {"id": np.arange(4)[::-1], "mean": np.arange(4.0)}
        self.asked: list[str] = []

    def reset(self) -> None:
        self.asked.append(f"keep {self.keep_evidence}")

    def update(self, rows: Rows) -> None: ...

    def state(self) -> State:
        return {}

    def merge(self, states: Any) -> None: ...

    def compute(self) -> dict[str, float]:
        return {"mean": float(np.mean(self.table.get("mean", 0.0)))}

    def evidence(self) -> Mapping[str, Table]:
        self.asked.append("evidence")
        return {"samples": self.table}


class Taker(Monitor):
    """Keeps records and looks at their tables."""

    takes_tables = True

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, record: Record) -> None:
        self.records.append(record)


def taken(*inferencers: Inferencer, data: Any = DATA, **options: Any) -> Record:
    runner = InferenceRunner(data, inferencers, every="at start", **options)
    taker = Taker()
    with Loop(None, callbacks=[runner], monitors=[taker]):
        pass
    return taker.records[0]


def test_it_is_asked_for_only_if_a_monitor_takes_tables_or_for_confidence() -> None:
    one, two, three = Mean(), Mean(), Mean()
    runner = InferenceRunner(DATA, [one], every="at start")
    records: list[Record] = []
    with Loop(None, callbacks=[runner], monitors=[records.append]):
        pass
    assert records[0].tables == {}
    assert "validation/time/evidence_s" not in records[0].timings
    taken(two)
    evaluate(None, DATA, [three], confidence=0.9)
    assert one.asked == ["keep False"]
    assert two.asked == three.asked == ["keep True", "evidence"]


def test_match_rates_of_queries_are_found_for_confidence_alone() -> None:
    tables = taken(MatchRate(far=0.1)).tables
    assert set(tables) == {f"match_rate/{name}" for name in ("roc", "scores", "operating_points")}
    record = taken(MatchRate(far=0.1), confidence=0.9)
    more = {f"match_rate/{name}" for name in ("queries", "signed_pairs", "resamples")}
    assert set(record.tables) == {*tables, *more}
    low, high = (record.scalars[f"validation/auc/{end}"] for end in ("low", "high"))
    assert low < record.scalars["validation/auc"] < high


def test_a_column_of_another_inferencers_metric_is_not_that_metric() -> None:
    data = {"score": np.array([0.1, 0.9]), "other": np.array([0.2, 0.4]), "label": np.arange(2)}
    stats = BinaryClassificationStats("other")  # whose samples have a column `score`
    found = taken(stats, ScalarStats("score"), ScalarStats("score"), data=data)
    samples = "binary_classification_stats/samples"
    assert "score" in found.tables[samples]
    assert found.columns == {
        samples: {},
        "scalar_stats/samples": {"score": "validation/scalar_stats/score"},
        "scalar_stats_2/samples": {"score": "validation/scalar_stats_2/score"},
    }


def test_a_monitor_gets_tables_by_inferencer_sorted_by_id() -> None:
    record = taken(Mean(), Retrieval(k=(1,)), Retrieval(k=(2,)))
    names = {"mean/samples", "retrieval/queries", "retrieval_2/queries"}
    assert names <= set(record.tables)
    assert record.tables["mean/samples"]["mean"].tolist() == [3.0, 2.0, 1.0, 0.0]
    values = record.tables["retrieval_2/queries"]["hit_rate@2"]
    assert values.mean() == record.scalars["validation/hit_rate@2"]
    assert record.timings["validation/time/evidence_s"] > 0


@pytest.mark.parametrize("table", [{"id": [1, 2], "x": [1.0]}, {"id": [1], "x": 1.0}])
def test_columns_of_different_lengths_are_an_error(table: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"the columns of evidence 'samples' of 'mean' must be of"):
        taken(Mean(table))


def test_each_metric_has_the_ends_of_its_interval_beside_it() -> None:
    record = taken(Mean(), Retrieval(k=(1,), metrics=["mrr"]), confidence=0.9)
    names = [name.removeprefix("validation/") for name in record.scalars]
    assert names == [
        *("mean", "mean/low", "mean/high"),
        *("mrr", "mrr/low", "mrr/high", "queries_without_relevant"),
    ]
    mrr, low, high = (record.scalars[f"validation/mrr{end}"] for end in ("", "/low", "/high"))
    assert 0 < low < mrr < high < 1
    assert record.timings["validation/time/confidence_s"] > 0


def test_metrics_of_one_name_keep_their_own_intervals() -> None:
    nine = Mean({"id": [1, 2], "mean": [9.0, 9.0]})
    metrics = evaluate(None, DATA, [Mean(), nine], confidence=0.9)
    assert metrics["validation/mean/mean/high"] <= 3.0
    assert metrics["validation/mean_2/mean/low"] == metrics["validation/mean_2/mean/high"] == 9.0


def test_intervals_do_not_depend_on_batches_or_on_the_order_of_rows() -> None:
    order = np.random.default_rng(1).permutation(40)
    shuffled = {name: array[order] for name, array in {**DATA, "id": np.arange(40)}.items()}
    options: dict[str, Any] = {"confidence": Bootstrap(over="class"), "inputs": ("output",)}
    first = evaluate(None, DATA, [Retrieval()], **options)
    second = evaluate(None, shuffled, [Retrieval()], batch_size=7, **options)
    assert first == second


@pytest.mark.parametrize("group", ["camera", ("camera", "site")])
def test_groups_that_queries_leave_out_may_be_drawn(group: Any) -> None:
    camera, site = np.arange(40) // 4 % 5, np.array(["in", "out"])[np.arange(40) // 20]
    output = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    data = {"output": output, "label": np.arange(40) % 4, "camera": camera, "site": site}
    retrieval = Retrieval(k=1, metrics="hit_rate", group=group)
    runner = InferenceRunner(data, [retrieval], every="at start")
    taker = Taker()
    with Loop(None, callbacks=[runner], monitors=[taker]):
        pass
    expected = camera if group == "camera" else np.stack([camera.astype(str), site], axis=1)
    found = taker.records[0].tables["retrieval/queries"]["group"]
    np.testing.assert_array_equal(found, expected)
    metrics = evaluate(None, data, [retrieval], confidence=Bootstrap(over="group"))
    assert metrics["validation/hit_rate@1/low"] < metrics["validation/hit_rate@1/high"]


def test_an_inferencer_without_labels_has_no_interval_over_classes() -> None:
    warning = r"evidence of 'mean' has no column 'label': no confidence intervals"
    with pytest.warns(RuntimeWarning, match=warning):
        metrics = evaluate(None, DATA, [Mean()], confidence=Bootstrap(over="class"))
    assert metrics == {"validation/mean": 1.5}


@pytest.mark.parametrize("wrong", [0.0, 1.0, 95, "95 %", True])
def test_a_confidence_that_is_none_is_an_error(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^`confidence` must be None, a level above 0 and below"):
        InferenceRunner(DATA, [Retrieval()], confidence=wrong)


def test_an_evaluation_with_a_folder_leaves_metrics_and_tables(tmp_path: Path) -> None:
    metrics = evaluate(None, DATA, [Retrieval(k=(1,))], name="test", rundir=tmp_path / "run")
    found = {path.name for path in (tmp_path / "run").iterdir()}
    assert found == {"environment.json", "metrics.jsonl", "tables"}
    table = parquet.read_table(tmp_path / "run/tables/test/00000000/retrieval.queries.parquet")
    assert np.mean(table["mrr"].to_numpy()) == pytest.approx(metrics["test/mrr"], rel=1e-12)


def test_a_folder_that_holds_a_run_is_not_mixed_with_another(tmp_path: Path) -> None:
    evaluate(None, DATA, [Retrieval()], rundir=tmp_path)
    with pytest.raises(FileExistsError, match="holds a run already"):
        evaluate(None, DATA, [Retrieval()], rundir=tmp_path)


def test_a_failed_evaluation_is_told_in_its_folder(tmp_path: Path) -> None:
    with pytest.raises(CoverageError):
        evaluate(None, [DATA], [ScalarStats("label")], size=41, rundir=tmp_path)
    assert "declares 41 samples" in (tmp_path / "metrics.jsonl").read_text()


def test_rows_of_equal_ids_come_in_the_order_of_their_roles() -> None:
    roles = np.array(["query", "gallery", "query", "gallery"])
    given = {"id": np.array([1, 1, 0, 0]), "role": roles, "at": np.arange(4)}
    assert taken(Mean(given)).tables["mean/samples"]["at"].tolist() == [3, 2, 1, 0]


def test_files_count_in_the_size_of_the_blocks_that_travel() -> None:
    files = np.array([bytes(1000)] * 8, dtype=object)
    parts = blocks({"id": np.arange(8), "picture": files}, 3000)
    assert [part["id"].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_an_inferencer_is_told_how_many_runs_of_the_training_came_before() -> None:
    class Counts(Mean):
        def reset(self) -> None:
            self.asked.append(str(self.earlier_runs))

    counts = Counts()
    runner = InferenceRunner(DATA, [counts], every="1 step")
    for _ in range(2):
        with Loop(None, callbacks=[runner], monitors=[]) as loop:
            for _ in loop.steps(range(3)):
                pass
    assert counts.asked == ["0", "1", "2"] * 2
