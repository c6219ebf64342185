"""Two evaluations compared query by query."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milepost as mp
from milepost._cli import main
from milepost._comparison_text import comparison_text
from milepost.errors import UnknownNameError

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 6, 120)
NOISE = RNG.normal(size=(120, 6))


def embedded(strength: float) -> dict[str, Any]:
    return {"output": NOISE + strength * np.eye(6)[LABELS], "label": LABELS}


def retrieval() -> mp.Retrieval:
    return mp.Retrieval(k=(1,), metrics=["hit_rate", "mrr"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two evaluations: in the second, embeddings tell the classes better."""
    folder = tmp_path_factory.mktemp("runs")
    for name, strength in (("a", 1.0), ("b", 2.0)):
        mp.evaluate(None, embedded(strength), [retrieval()], rundir=folder / name)
    return folder / "a", folder / "b"


def record(step: int, **tables: Mapping[str, Any]) -> mp.Record:
    """A record of the mean of each column x of tables called `samples`."""
    scalars = {f"test/{owner}/x": float(np.nanmean(table["x"])) for owner, table in tables.items()}
    arrays = {
        f"{owner}/samples": {key: np.array(column) for key, column in table.items()}
        for owner, table in tables.items()
    }
    columns = {f"{owner}/samples": {"x": f"test/{owner}/x"} for owner in tables}
    return mp.Record(runner="test", scalars=scalars, step=step, tables=arrays, columns=columns)


def write(rundir: Path, *records: mp.Record) -> Path:
    monitor = mp.ParquetTables(rundir / "tables")
    for each in records:
        monitor.write(each)
    return rundir


def test_the_means_are_those_of_the_runs(runs: tuple[Path, Path]) -> None:
    changes = mp.compare(*runs)
    assert [change.metric for change in changes] == ["validation/hit_rate@1", "validation/mrr"]
    logged = [json.loads((run / "metrics.jsonl").read_text()) for run in runs]
    for change in changes:
        assert change.first == pytest.approx(logged[0][change.metric], rel=1e-12)
        assert change.second == pytest.approx(logged[1][change.metric], rel=1e-12)
        assert change.difference == pytest.approx(change.second - change.first, rel=1e-9)
        assert change.queries == 120
        assert 0 < change.low < change.difference < change.high
        assert change.p < 0.01
        assert change.higher > change.lower


def test_a_run_differs_from_itself_in_nothing(runs: tuple[Path, Path]) -> None:
    for change in mp.compare(runs[0], runs[0]):
        assert (change.difference, change.p) == (0, 1)
        assert change.low == -change.high
        assert change.high == (
            0 if change.metric == "validation/mrr" else pytest.approx(0.016, 0.1)
        )
        assert (change.higher, change.lower, change.most) == (0, 0, ())


def test_queries_are_paired_by_id_whatever_their_order(tmp_path: Path) -> None:
    first = {"id": ["a", "b", "c", "d"], "x": [0.0, 1.0, math.nan, 0.5], "label": list("xyxy")}
    second = {"id": ["d", "b", "c", "a"], "x": [0.5, 0.75, 0.5, 1.0], "label": list("yyxx")}
    one, two = write(tmp_path / "1", record(1, m=first)), write(tmp_path / "2", record(3, m=second))
    (change,) = mp.compare(one, two)
    assert (change.metric, change.queries) == ("test/m/x", 3)
    assert (change.first, change.second, change.difference) == (0.5, 0.75, 0.25)
    assert (change.higher, change.lower) == (1, 1)
    assert change.most == (
        {"id": "a", "label": "x", "first": 0.0, "second": 1.0},
        {"id": "b", "label": "y", "first": 1.0, "second": 0.75},
    )
    assert change.p == 1  # the sum is 0.75; it could be ±0.75 or ±1.25


def test_queries_without_a_value_do_not_narrow_the_interval_of_shares(tmp_path: Path) -> None:
    few = {"id": np.arange(10), "x": np.array([1.0, 0.0] * 5)}
    many = {"id": np.arange(400), "x": np.append(few["x"], np.full(390, math.nan))}
    runs = (write(tmp_path / name, record(1, m=x)) for name, x in (("few", few), ("many", many)))
    (one,), (other,) = (mp.compare(run, run) for run in runs)
    assert (one.queries, other.queries) == (10, 10)
    assert (other.low, other.high) == (one.low, one.high)
    assert one.high > 0.1


def test_a_difference_of_shares_is_never_beyond_1(tmp_path: Path) -> None:
    tables = ({"id": np.arange(3), "x": np.full(3, value)} for value in (0.0, 1.0))
    one, two = (write(tmp_path / str(at), record(1, m=x)) for at, x in enumerate(tables))
    (change,) = mp.compare(one, two)
    assert -1 < change.low < change.difference == change.high == 1


def test_of_equal_changes_those_in_all_metrics_come_first_and_then_ids(tmp_path: Path) -> None:
    def table(x: list[float], y: list[float]) -> mp.Record:
        columns = {"id": np.arange(4), "x": np.array(x), "y": np.array(y)}
        scalars = {"test/x": float(np.mean(x)), "test/y": float(np.mean(y))}
        metrics = {"m/queries": {"x": "test/x", "y": "test/y"}}
        tables = {"m/queries": columns}
        return mp.Record(runner="test", scalars=scalars, step=1, tables=tables, columns=metrics)

    one = write(tmp_path / "1", table([0, 0, 1, 0], [0, 0, 0, 0]))
    two = write(tmp_path / "2", table([1, 1, 0, 0], [0, 0, 0.5, 1]))
    change, _ = mp.compare(one, two)
    assert [each["id"] for each in change.most] == [2, 0, 1]
    (change,) = mp.compare(one, two, metrics=["x"], most=1)
    assert [each["id"] for each in change.most] == [0]


def test_classes_are_flipped_and_drawn_together(tmp_path: Path) -> None:
    label = np.repeat(np.arange(5), 20)
    first = {"id": np.arange(100), "label": label, "x": np.zeros(100)}
    second = first | {"x": label.astype(float)}
    one, two = write(tmp_path / "1", record(1, m=first)), write(tmp_path / "2", record(1, m=second))
    (single,) = mp.compare(one, two)
    (whole,) = mp.compare(one, two, bootstrap=mp.Bootstrap(over="class"))
    assert single.p == 1 / 10_001
    assert whole.p == 2 / 2**4  # one class does not differ
    assert whole.high - whole.low > 2 * (single.high - single.low)


def test_the_last_steps_are_compared_or_those_that_are_named(tmp_path: Path) -> None:
    def at(step: int, x: float) -> mp.Record:
        return record(step, m={"id": [1, 2], "x": [x, x]})

    run = write(tmp_path / "1", at(5, 0.5), at(20, 0.75))
    other = write(tmp_path / "2", at(5, 0.25), at(9, 1.0))
    assert [change.difference for change in mp.compare(run, other)] == [0.25]
    assert [change.difference for change in mp.compare(run, other, step=5)] == [-0.25]
    with pytest.raises(UnknownNameError, match=r"unknown step of 'test' in '.*': '9'; there are: "):
        mp.compare(run, other, step=9)


def test_what_has_no_tables_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no tables of evidence; `milepost"):
        mp.compare(tmp_path, tmp_path)


def test_other_queries_are_an_error_that_names_them(tmp_path: Path) -> None:
    one = write(tmp_path / "1", record(1, m={"id": [1, 2, 3], "x": [1.0, 1.0, 1.0]}))
    two = write(tmp_path / "2", record(1, m={"id": [2, 3, 4, 5], "x": [1.0, 1.0, 1.0, 1.0]}))
    with pytest.raises(ValueError, match="other queries") as caught:
        mp.compare(one, two)
    assert str(caught.value) == (
        "the evaluations of 'm' have other queries: 1 ids only in the first run, such as [1] "
        "and 2 ids only in the second run, such as [4, 5]"
    )


def test_other_metrics_or_runners_are_an_error(runs: tuple[Path, Path], tmp_path: Path) -> None:
    other = write(tmp_path / "1", record(1, m={"id": [1], "x": [1.0]}))
    with pytest.raises(ValueError, match=r"^the runs '.*' and '.*' have no runner and metric in"):
        mp.compare(runs[0], other)
    with pytest.raises(UnknownNameError, match="unknown metric of both runs 'hit_rate@2'; there"):
        mp.compare(*runs, metrics=["hit_rate@2"])
    with pytest.raises(UnknownNameError, match=r"unknown runner in '.*': 'test'; there are: 'vali"):
        mp.compare(*runs, runner="test")


def test_classes_that_are_not_known_are_an_error(tmp_path: Path) -> None:
    run = write(tmp_path / "1", record(1, m={"id": [1, 2], "x": [1.0, 0.5]}))
    with pytest.raises(ValueError, match="evidence of 'm' has no column 'label' to draw over"):
        mp.compare(run, run, bootstrap=mp.Bootstrap(over="class"))


def logged(rundir: Path) -> dict[str, float]:
    record: dict[str, float] = json.loads((rundir / "metrics.jsonl").read_text())
    return record


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two evaluations with metrics that are no means over queries."""
    folder = tmp_path_factory.mktemp("drawn")
    bootstrap = mp.Bootstrap(over="class", resamples=200)
    for name, strength in (("a", 1.0), ("b", 2.0)):
        inferencers = [mp.MatchRate(thresholds=0.5, far=0.1), mp.Retrieval(k=1, average="class")]
        data = embedded(strength)
        mp.evaluate(None, data, inferencers, rundir=folder / name, confidence=bootstrap)
    return folder / "a", folder / "b"


def test_what_is_compared_is_what_was_logged(drawn: tuple[Path, Path]) -> None:
    changes = {change.metric: change for change in mp.compare(*drawn)}
    rates = ["match_rate_genuine@0.5", "match_rate_impostor@0.5", "tar@far=0.1", "eer", "auc"]
    assert {f"validation/{name}" for name in [*rates, "hit_rate@1", "mrr"]} <= changes.keys()
    first, second = map(logged, drawn)
    for name, change in changes.items():
        assert change.first == pytest.approx(first[name], rel=1e-9)
        assert change.second == pytest.approx(second[name], rel=1e-9)
        assert change.difference == change.second - change.first
        assert change.low <= change.difference <= change.high
        assert change.p < 0.1 or change.low <= 0 <= change.high
    tar = changes["validation/tar@far=0.1"]
    assert tar.higher > tar.lower
    assert tar.queries == 120
    assert len(tar.most) == 5


def test_resamples_of_a_run_against_itself_do_not_differ(drawn: tuple[Path, Path]) -> None:
    (change,) = mp.compare(drawn[0], drawn[0], metrics=["eer"])
    assert (change.difference, change.low, change.high, change.p) == (0, 0, 0, 1)


def without_confidence(folder: Path, **options: Any) -> Path:
    inferencers = [retrieval(), mp.MatchRate(far=0.1)]
    mp.evaluate(None, embedded(1.0), inferencers, rundir=folder, **options)
    return folder


def test_what_has_no_resamples_is_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = without_confidence(tmp_path / "1")
    assert [change.metric for change in mp.compare(one, one)] == [
        "validation/hit_rate@1",
        "validation/mrr",
    ]
    with pytest.raises(ValueError, match="cannot be compared") as caught:
        mp.compare(one, one, metrics=["tar@far=0.1"])
    assert str(caught.value) == (
        "'validation/tar@far=0.1' cannot be compared: it is no mean over queries; "
        "give both evaluations the same `confidence`, such as 0.95"
    )
    assert main(["compare", str(one), str(one)]) == 0
    told = "\nnot compared (`--metric NAME` tells why): validation/queries_without_relevant,"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("confidence", "over", "why"),
    [
        (mp.Bootstrap(seed=1), None, "it was drawn in two ways; give both evaluations the same "),
        (0.95, "class", r"it was drawn over 'query'; give both evaluations `confidence=Boots.*'c"),
    ],
)
def test_resamples_that_were_drawn_otherwise_are_not_compared(
    tmp_path: Path, confidence: Any, over: Any, why: str
) -> None:
    one = without_confidence(tmp_path / "1", confidence=0.95)
    two = without_confidence(tmp_path / "2", confidence=confidence)
    bootstrap = over and mp.Bootstrap(over=over)
    with pytest.raises(ValueError, match=f"^'validation/eer' cannot be compared: {why}"):
        mp.compare(one, two, metrics=["eer"], bootstrap=bootstrap)


def test_a_column_that_is_not_its_metric_is_not_compared(tmp_path: Path) -> None:
    table = {"m/samples": {"id": np.arange(2), "x": np.array([0.0, 1.0])}}
    columns = {"m/samples": {"x": "test/x"}}
    scalars = {"test/x": 0.75}
    wrong = mp.Record(runner="test", scalars=scalars, step=1, tables=table, columns=columns)
    run = write(tmp_path / "1", wrong)
    assert mp.compare(run, run) == []


def test_the_command_prints_a_table_and_the_queries(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *map(str, runs), "--metric", "validation/mrr"]) == 0
    (change,) = mp.compare(*runs, metrics=["mrr"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"a: {runs[0]}", f"b: {runs[1]}"]
    assert " ".join(lines[3].split()) == "validation a b b - a interval p up down b is"
    assert lines[4].split() == [
        *("mrr", f"{change.first:.4f}", f"{change.second:.4f}", f"{change.difference:+.4f}"),
        *(f"{change.low:+.4f}", "...", f"{change.high:+.4f}", f"{change.p:.2g}"),
        *(str(change.higher), str(change.lower), "better"),
    ]
    assert lines[6:8] == ["changed most in mrr:", lines[7]]
    assert [line.split()[0] for line in lines[8:]] == [str(each["id"]) for each in change.most]


def test_better_and_worse_are_named_where_the_interval_and_the_name_tell(
    runs: tuple[Path, Path],
) -> None:
    (change,) = mp.compare(*runs, metrics=["mrr"])

    def verdict(metric: str, low: float, high: float) -> str:
        told = dataclasses.replace(change, metric=metric, low=low, high=high, lower=77)
        return comparison_text([told], "one", "two").splitlines()[4].partition(" 77")[2].strip()

    assert verdict("v/map@r", 0.1, 0.2) == verdict("v/error@1", -0.2, -0.1) == "better"
    assert verdict("v/map@r", -0.2, -0.1) == verdict("v/error@1", 0.1, 0.2) == "worse"
    assert verdict("v/map@r", -0.1, 0.2) == verdict("v/margin", 0.1, 0.2) == ""


def test_where_single_queries_have_no_value_none_is_counted(runs: tuple[Path, Path]) -> None:
    (change,) = mp.compare(*runs, metrics=["mrr"])

    def cells(difference: float) -> list[str]:
        told = dataclasses.replace(change, difference=difference, p=0.5, higher=0, lower=0, most=())
        return comparison_text([told], "one", "two").splitlines()[-1].split()

    assert cells(0.0)[7:] == ["0.5", "0", "0", "better"]
    assert cells(0.1)[7:] == ["0.5", "better"]


def test_the_command_prints_json(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *map(str, runs), "--runner=validation", "--over=class", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [each["metric"] for each in printed] == ["validation/hit_rate@1", "validation/mrr"]
    assert len(printed[0]["most"]) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--step", "7"], "unknown step of 'validation'"), (["--runner", "x"], "unknown runner in")],
)
def test_what_is_not_there_gives_one_line_and_code_2(
    runs: tuple[Path, Path],
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["compare", *map(str, runs), *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"milepost compare: error: {message}")


def test_the_command_takes_no_override(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["compare", *map(str, runs), "--epochs=3"])
    assert "unrecognized arguments: --epochs=3" in capsys.readouterr().err


def test_a_reader_that_has_enough_is_no_error(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert main(["compare", *map(str, runs), "--json"]) == 1
        monkeypatch.undo()
