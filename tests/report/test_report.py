"""The page of a run, as text."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import milepost as mp
from milepost._cli import main
from milepost._report import follow
from milepost._report._live import _state
from milepost.callbacks import Record
from milepost.callbacks.monitors import file_monitors
from tests.report.folders import HOSTILE, evaluation, hostile, logged

pytestmark = pytest.mark.xdist_group("report")  # which is made once


class Page(HTMLParser):
    """What a page holds.

    Attributes:
        tags: each that is opened, in order.
        ids: the anchors.
        links: the anchors that are linked.
        shown: the text.
        rows: the cells of each row of each table.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self.shown = ""
        self._hides = self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._hides = tag in ("style", "script")
        of = {name: value or "" for name, value in attrs}
        self.ids += [of["id"]] if "id" in of else []
        link = of.get("href", "")
        self.links += [link[1:]] if link.startswith("#") else []
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if not self._hides:
            self.shown += data
            if self._in_cell:
                self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def page(path: Path) -> Page:
    return Page(path.read_text())


def read(rundir: Path) -> Page:
    return Page(mp.report(rundir).read_text())


def test_the_page_has_a_section_for_each_thing_that_the_run_holds(page: Page) -> None:
    keys = ["summary", "curves", "worst-queries", "worst-samples", "most-changed"]
    keys += ["thresholds", "classes", "confusion", "reliability", "embedding-map", "health"]
    keys += ["timings", "coverage", "environment"]
    assert [link for link in page.links if link in page.ids][: len(keys)] == keys
    assert "errors" not in page.ids


def test_every_figure_has_a_caption_and_every_table_too(page: Page) -> None:
    assert page.tags.count("figure") == page.tags.count("figcaption") > 10
    assert page.tags.count("table") == page.tags.count("caption") > 5


def test_no_anchor_is_there_twice_and_every_link_leads_to_one(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    assert set(page.links) <= set(page.ids)


def test_the_page_loads_nothing(path: Path, page: Page) -> None:
    assert {"link", "iframe", "image", "base"}.isdisjoint(page.tags)
    outside = r"""(?:src|href)=["'](?!#|data:image/png;base64,)|url\((?!#)|@import"""
    assert re.findall(outside, path.read_text()) == []


def test_the_summary_tells_the_best_value_its_step_its_interval_and_the_last(
    tmp_path: Path,
) -> None:
    shown = {"v/map@r/low": 0.4, "v/map@r/high": 0.6, "v/norm": 7.0, "v/eer": 0.3}
    page = read(
        logged(
            tmp_path,
            evaluation(1, **{"map@r": 0.25, "eer": 0.2, "norm": 9.0}),
            {**evaluation(2, **{"map@r": 0.5}), **shown},
            evaluation(3, **{"map@r": 0.125, "eer": 0.25, "norm": 8.0}),
        )
    )
    assert ["map@r", "0.500 0.400\N{EN DASH}0.600", "2", "0.125"] in page.rows
    assert ["eer", "0.200", "1", "0.250"] in page.rows
    assert not any(row[0] == "norm" for row in page.rows)  # neither high nor low is good


def test_what_came_after_the_step_that_was_resumed_from_is_left_out(tmp_path: Path) -> None:
    page = read(
        logged(
            tmp_path,
            evaluation(1, accuracy=0.25),
            evaluation(3, accuracy=1.0),
            {"runner": None, "step": 3, "elapsed_s": 6.0, "train/loss": 9.0},
            evaluation(2, accuracy=0.5),
            {"runner": None, "step": 2, "elapsed_s": 4.0, "train/loss": 3.0},
            evaluation(2, accuracy=0.75),
        )
    )
    assert ["accuracy", "0.750", "2", "0.750"] in page.rows
    assert ["v", "n/a", "n/a", "2", "0", "n/a"] in page.rows  # coverage: of no role that is known


def test_a_log_that_was_cut_off_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    log = logged(tmp_path, evaluation(1, accuracy=0.25), "no record\n", '{"runner": "v", "ste')
    page = read(log)
    assert (tmp_path / "report.html").is_file()
    assert ["accuracy", "0.250"] in page.rows
    assert "metrics.jsonl: line 2 is no record" in page.shown
    assert "line 3" not in page.shown


def test_tables_that_are_damaged_are_named_and_unfinished_ones_left_alone(tmp_path: Path) -> None:
    folder = logged(tmp_path, evaluation(1, accuracy=0.25)) / "tables" / "v" / "00000001"
    folder.mkdir(parents=True)
    (folder / "match_rate.roc.parquet").write_bytes(b"PAR1 and then nothing")
    (folder / "confusion_matrix.matrix.parquet.part").write_bytes(b"PAR1")
    page = read(tmp_path)
    assert "tables/v/00000001/match_rate.roc.parquet" in page.shown
    assert "matrix" not in page.shown
    assert {"thresholds", "confusion"}.isdisjoint(page.ids)


def test_values_that_are_no_numbers_leave_gaps(tmp_path: Path) -> None:
    page = read(
        logged(
            tmp_path,
            evaluation(1, accuracy=None, error=None),
            evaluation(2, accuracy=0.5, error=None),
            evaluation(3, accuracy=None, error=None),
        )
    )
    assert ["accuracy", "0.500", "2", "n/a"] in page.rows
    assert ["error", "n/a", "n/a", "n/a"] in page.rows


def test_a_run_of_errors_alone_is_shown(tmp_path: Path) -> None:
    failed = {"runner": "v", "step": 7, "error": "CoverageError: 3 are\nmissing"}
    page = read(logged(tmp_path, failed))
    assert ["v", "7", "CoverageError: 3 are\nmissing"] in page.rows
    assert "1 evaluation failed" in page.shown


def test_a_log_of_the_training_alone_is_shown(tmp_path: Path) -> None:
    lines = [{"runner": None, "step": step, "train/loss": 1.0 / (1 + step)} for step in range(1000)]
    page = read(logged(tmp_path, *lines))
    assert "train/loss" in page.shown
    assert "summary" not in page.ids


@pytest.mark.parametrize("log", [None, "", '{"runner": "v", "st'])
def test_a_folder_without_a_run_is_refused(tmp_path: Path, log: str | None) -> None:
    if log is not None:
        logged(tmp_path, log)
    with pytest.raises(FileNotFoundError, match=f"^'{re.escape(str(tmp_path))}' holds no run: "):
        mp.report(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^`rundir` must be the folder of a run, got"):
        mp.report(tmp_path / "none")


def test_text_stays_text(tmp_path: Path) -> None:
    page = read(hostile(tmp_path / HOSTILE.replace("/", "")))
    assert page.tags.count("script") == 1
    assert page.tags.count("b") == page.tags.count("figcaption")
    assert page.shown.count(HOSTILE) > 20
    assert "&lt;" not in page.shown
    plots = [row for row in page.rows if row[0] == HOSTILE]
    assert [HOSTILE, "0.500"] in plots  # of a class


def test_ten_thousand_queries_make_a_page_of_less_than_two_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    queries = {"id": np.arange(10_000), "label": np.arange(10_000) % 1000}
    metrics = {name: rng.random(10_000) for name in ("hit_rate@1", "map@r", "mrr")}
    far = np.sort(rng.random(8000)) ** 3
    roc = {"match_rate_genuine": np.sqrt(far), "match_rate_impostor": far}
    pair = rng.integers(0, 1000, size=(2, 10_000))
    matrix = {"label": pair[0], "predicted": pair[1], "count": np.ones(10_000, int)}
    tables = {"r/queries": queries | metrics, "m/roc": roc, "c/matrix": matrix}
    columns = {"r/queries": {name: f"v/{name}" for name in metrics}}
    monitors = file_monitors(tmp_path)
    for step in range(30):
        scalars = {f"v/{name}": values[step] for name, values in metrics.items()}
        shown = tables if step == 29 else {}
        record = Record(runner="v", step=step, scalars=scalars, tables=shown, columns=columns)
        for monitor in monitors:
            monitor.write(record)
    for monitor in monitors:
        monitor.close()
    path = mp.report(tmp_path)
    assert path.stat().st_size < 2_000_000
    page = Page(path.read_text())
    assert "100 of 1,000 classes" in page.shown
    assert "The 30 of 1,000 classes that are confused most" in page.shown


def test_the_command_writes_the_page_and_tells_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logged(tmp_path / "run", evaluation(1, accuracy=0.5))
    output = tmp_path / "pages" / "page.html"
    assert main(["report", str(tmp_path / "run"), "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    assert "accuracy" in output.read_text()
    assert [path.name for path in output.parent.iterdir()] == ["page.html"]
    for wrong in ([str(tmp_path / "none")], [str(tmp_path / "none"), "--live"]):
        assert main(["report", *wrong]) == 2
        assert "`rundir` must be the folder of a run" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "run"), "--output", str(tmp_path)]) == 2
    assert "`output` must be a file, got the folder" in capsys.readouterr().err


def test_a_table_of_another_kind_costs_its_section_alone(tmp_path: Path) -> None:
    for monitor in file_monitors(tmp_path):
        tables = {"mine/roc": {"x": np.arange(3)}, "c/classes": {"label": np.arange(2)}}
        tables["c/classes"]["f1"] = np.array([0.25, 1.0])
        monitor.write(Record(runner="v", step=1, scalars={"v/f1": 0.5}, tables=tables))
        monitor.close()
    page = read(tmp_path)
    assert "the section thresholds failed (KeyError: 'match_rate_impostor')" in page.shown
    assert ["0", "0.250"] in page.rows


def test_classes_of_several_inferencers_are_one_table_if_they_are_the_same(tmp_path: Path) -> None:
    labels = np.array([3, 4, 3, 4])
    found = {"id": np.arange(4), "label": labels, "accuracy": np.array([1.0, 0.0, 0.5, 0.5])}
    levels = {"id": np.arange(2), "label": np.array([[3, 1], [4, 1]]), "mrr": np.array([1.0, 0.5])}
    tables = {
        "a/samples": found,
        "b/classes": {
            "label": np.array([4, 3]),
            "rows": np.array([2, 2]),
            "f1": np.array([0.5, 1]),
        },
        "c/queries": levels,
    }
    columns = {"a/samples": {"accuracy": "v/accuracy"}, "c/queries": {"mrr": "v/mrr"}}
    for monitor in file_monitors(tmp_path):
        scalars = {"v/accuracy": 0.5}
        record = Record(runner="v", step=1, scalars=scalars, tables=tables, columns=columns)
        monitor.write(record)
        monitor.close()
    page = read(tmp_path)
    assert ["class", "rows", "f1", "accuracy"] in page.rows
    at = page.rows.index(["4", "2", "0.500", "0.250"])
    assert page.rows[at + 1] == ["3", "2", "1.000", "0.750"]
    assert ["class", "queries", "mrr"] in page.rows
    assert ["4 / 1", "1", "0.500"] in page.rows


def test_a_live_page_waits_for_the_first_record(tmp_path: Path) -> None:
    waited: list[bool] = []

    def wait(_: float) -> None:
        waited.append((tmp_path / "report.html").exists())
        logged(tmp_path, evaluation(1, accuracy=0.5))
        if len(waited) == 2:
            raise KeyboardInterrupt

    follow(tmp_path, None, wait=wait)
    assert waited == [False, True]


def test_a_file_that_is_gone_meanwhile_does_not_end_a_live_page(tmp_path: Path) -> None:
    (tmp_path / "environment.json").symlink_to(tmp_path / "gone")
    (tmp_path / "metrics.jsonl").touch()
    ((name, _, size),) = _state(tmp_path)
    assert (Path(name).name, size) == ("metrics.jsonl", 0)


def test_a_live_page_is_written_anew_when_the_run_goes_on(tmp_path: Path) -> None:
    lines = [evaluation(1, accuracy=0.5)]
    output = logged(tmp_path, *lines) / "page.html"
    seen: list[tuple[bool, bool, int]] = []

    def wait(_: float) -> None:
        html = output.read_text()
        seen.append(("0.625" in html, 'http-equiv="refresh"' in html, output.stat().st_mtime_ns))
        if len(seen) == 2:
            logged(tmp_path, *lines, evaluation(2, accuracy=0.625))
        if len(seen) == 3:
            raise KeyboardInterrupt

    follow(tmp_path, output, wait=wait)
    assert [shown for shown, _, _ in seen] == [False, False, True]
    assert all(refreshes for _, refreshes, _ in seen)
    assert seen[0][2] == seen[1][2] < seen[2][2]
    assert 'http-equiv="refresh"' not in output.read_text()


def test_the_extra_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost._report._report.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'^jinja2 is not installed; pip install "milepost\[rep'):
        mp.report(logged(tmp_path, evaluation(1, accuracy=0.5)))
