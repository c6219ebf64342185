"""The queries and samples that went worst or changed most."""

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

import milepost as mp
from milepost._report import _items
from milepost._report._changed import changed_queries
from milepost._report._query_tables import QueryTables, main_metric
from milepost._report._run_files import RunFiles
from milepost._report._worst import worst_cards, worst_queries
from milepost._report._worst_samples import worst_samples
from milepost.inferencers._thumbnails import as_png


def tables(values: Any, near: Any = (), metric: str = "map@r", **columns: Any) -> QueryTables:
    """Queries "a", "b", ... with values, and neighbours as (query, rank, score, is right)."""
    queries = {"id": np.array(list("abcdef")[: len(values)]), metric: np.array(values), **columns}
    ids, ranks, scores, right = zip(*near, strict=True) if near else ((), (), (), ())
    table = {
        "id": np.array(ids, "<U1"),
        "rank": np.array(ranks, int),
        "neighbor": np.arange(len(ids)),
        "label": np.array(["x"] * len(ids), "<U1"),
        "score": np.array(scores, np.float32),
        "relevant": np.array(right, bool),
    }
    return QueryTables(metric, queries, table)


def worst(found: QueryTables, most: int = 9) -> str:
    return "".join(found.ids[found.worst(most)].tolist())


def test_the_worst_come_first_and_what_could_not_be_better_does_not_come() -> None:
    assert worst(tables([0.5, 1.0, np.nan, 0.0, 0.25])) == "dea"
    assert worst(tables([0.5, 1.0, np.nan, 0.0, 0.25]), 2) == "de"


def test_of_a_metric_that_is_better_small_the_largest_are_the_worst() -> None:
    assert worst(tables([0.5, 0.0, 2.0, np.nan], metric="nll")) == "cab"
    assert worst(tables([1.0, 0.0, 0.5], metric="error")) == "ac"


def test_of_equal_ones_those_come_first_that_are_wrong_and_sure() -> None:
    near = [
        *[("a", 1, 0.9, False), ("a", 2, 0.8, True)],  # leads by 0.1
        *[("b", 1, 0.5, False), ("b", 2, 0.1, True)],  # by 0.4
        *[("c", 1, 0.9, True), ("c", 2, 0.7, False)],  # by -0.2
        *[("d", 1, 0.9, False), ("d", 2, 0.6, False)],  # by at least 0.3
        ("e", 1, 0.9, True),  # no wrong one
    ]
    assert worst(tables([0.5] * 6, near)) == "bdacef"


def test_neighbours_come_in_the_order_of_their_ranks() -> None:
    found = tables([0.0], [("a", 2, 0.25, True), ("a", 1, 0.5, False), ("z", 1, 0.5, True)])
    assert found.neighbors_of(0) == [
        (1, False, "label x", 0.5, False),
        (0, False, "label x", 0.25, True),
    ]


def test_relevance_is_that_of_the_level_of_the_metric() -> None:
    found = tables([0.0, 0.0], [("a", 1, 0.5, False)], metric="genus/mrr")
    assert found.neighbors_of(0) == []
    near = {"id": np.array(["a"]), "rank": np.ones(1), "object": np.array(["x"])}
    near |= {"score": np.ones(1), "genus/relevant": np.ones(1, bool), "grade": np.array([np.nan])}
    queries = {"id": np.array(["a"]), "genus/mrr": np.zeros(1)}
    (only,) = QueryTables("genus/mrr", queries, near).neighbors_of(0)
    assert only == ("x", True, "not judged", 1.0, True)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("hit_rate@1", "ndcg@5", "ndcg@10", "map@r"), "map@r"),
        (("hit_rate@1", "ndcg@5", "ndcg@10"), "ndcg@10"),
        (("species/hit_rate@1", "genus/mrr"), "genus/mrr"),
        (("triplet_loss", "margin"), "triplet_loss"),
        (("margin", "label", "id", "group"), None),
    ],
)
def test_the_metric_that_tells_most_is_chosen(names: tuple[str, ...], expected: str | None) -> None:
    assert main_metric({name: np.ones(2) for name in names}) == expected


LABELS = np.array(["<b>one</b>", "two & three", "four", "five", "six", "seven"])
NAMES = np.array([f"item {at}" for at in range(24)])


def data(rng: np.random.Generator, **columns: Any) -> dict[str, Any]:
    label = LABELS[np.arange(24) % 6]
    return {"id": NAMES, "output": rng.normal(size=(24, 4)), "label": label, **columns}


def train(rundir: Path, columns: Any, *inferencers: Any, steps: int = 2, spread: Any = ()) -> str:
    """Return the sections on a run whose embeddings change before each evaluation."""
    rng, retrieval = np.random.default_rng(1), mp.Retrieval(k=1, metrics=["hit_rate", "map@r"])
    runner = mp.InferenceRunner(columns, [retrieval, *inferencers], every="1 step", inputs=())
    centres = np.random.default_rng(2).normal(size=(6, 4))
    with mp.Loop(None, callbacks=[runner], rundir=rundir) as loop:
        for _, scale in zip(loop.steps(range(steps)), spread or (9, 1, 1), strict=False):
            noise = rng.normal(size=(24, 4))
            columns["output"][:] = centres[np.arange(24) % 6] + scale * noise
    return sections(rundir)


def sections(rundir: Path) -> str:
    run = RunFiles(rundir)
    found = [make(run) for make in (worst_queries, worst_samples, changed_queries)]
    return "".join(
        f'<section id="{each.key}">{each.html}</section>' for each in found if each is not None
    )


def section(page: str, key: str) -> str:
    found = re.search(rf'<section id="{key}".*?</section>', page, re.DOTALL)
    return found[0] if found else ""


PICTURES = np.random.default_rng(0).integers(0, 256, (24, 6, 6), np.uint8)


@pytest.fixture(scope="module")
def rundir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("queries") / "run"


@pytest.fixture(scope="module")
def page(rundir: Path) -> str:
    texts = np.array([f"<script>alert({at})</script> text" for at in range(24)])
    columns = data(np.random.default_rng(0), image=PICTURES, text=texts)
    return train(rundir, columns, mp.Items("image", "text"))


def test_a_query_stands_with_its_neighbours_right_and_wrong_told_in_words(page: str) -> None:
    found = section(page, "worst-queries")
    assert len(re.findall('<article class="query">', found)) >= 3
    assert '<li class="right">\n<span class="mark">✓ right</span>' in found
    assert '<li class="wrong">\n<span class="mark">✗ wrong</span>' in found
    first = found.split("<article")[1]
    assert first.count("<li") == 5
    assert re.search(r"<code>map@r</code> 0\.\d{3}", first)


def test_monitors_are_shown_the_queries_that_the_page_shows(rundir: Path, page: str) -> None:
    shown = re.findall(r"<strong>query (item \d+)</strong>", section(page, "worst-queries"))
    run = RunFiles(rundir)
    (line,) = re.findall(r"at step (\d+)", section(page, "worst-queries"))
    items = _items.items_of(run, "validation", NAMES.tolist())
    cards = worst_cards(run.tables("validation", int(line)), "retrieval", items)
    assert cards is not None
    assert [card.id for card in cards[1]] == shown[:6]
    assert all(card.item.picture for card in cards[1])


def test_pictures_and_texts_are_those_of_the_query(page: str) -> None:
    first = section(page, "worst-queries").split("<article")[1]
    (name,) = re.findall(r"<strong>query (item \d+)</strong>", first)
    (at,) = np.flatnonzero(name == NAMES)
    png = base64.b64decode(re.findall(r"base64,([^\"]+)", first)[0])
    assert png == as_png(PICTURES[at][..., None], 96)
    assert f"&lt;script&gt;alert({at})&lt;/script&gt; text" in first
    assert 'class="tiny"' in first


def test_texts_and_labels_stay_text(page: str) -> None:
    for key in ("worst-queries", "most-changed"):
        found = section(page, key)
        assert "label two &amp; three" in found
        assert "<b>one" not in found
        assert "<script" not in found


def test_the_most_changed_stand_as_they_were_and_as_they_are(page: str) -> None:
    found = section(page, "most-changed")
    assert "Step 1 to 2, the first and the last, which is the best" in found
    assert "queries went better" in found
    first = found.split("<article")[1]
    assert "▲ better" in first
    assert re.findall(r"<h4>(step \d)</h4>", first) == ["step 1", "step 2"]
    before, after = (float(x) for x in re.findall(r"(\d\.\d{3}) → (\d\.\d{3})", first)[0])
    assert before < after
    assert [part.count("<li") for part in first.split("<h4>")[1:]] == [5, 5]


def test_without_items_ids_and_labels_are_shown_and_how_to_get_pictures(tmp_path: Path) -> None:
    page = train(tmp_path / "run", data(np.random.default_rng(0)), spread=(1, 0.8, 9), steps=3)
    found = section(page, "worst-queries")
    assert 'With <code>mp.Items(pictures="image")</code>' in found
    assert re.search(r'<strong class="id">item \d+</strong>', found)
    assert "<img" not in found
    changed = section(page, "most-changed")
    assert "Step 1 to 3, the first and the last<" in changed
    assert "▼ worse" in changed


def test_the_best_evaluation_is_compared_with_the_last(tmp_path: Path) -> None:
    columns = data(np.random.default_rng(0))
    page = train(tmp_path / "run", columns, spread=(9, 0.1, 9), steps=3)
    assert "at step 2, the best of 3 evaluations by it" in section(page, "worst-queries") or (
        "Every query has the best" in section(page, "worst-queries")
    )
    changed = section(page, "most-changed")
    assert "Step 1 to 3, the first and the last" in changed
    assert "Step 2 to 3, the best and the last" in changed


def test_one_evaluation_has_nothing_to_compare(tmp_path: Path) -> None:
    page = train(tmp_path / "run", data(np.random.default_rng(0)), steps=1)
    assert section(page, "worst-queries")
    assert section(page, "most-changed") == ""


def test_a_run_where_all_went_well_says_so(tmp_path: Path) -> None:
    page = train(tmp_path / "run", data(np.random.default_rng(0)), spread=(1e-6,), steps=1)
    assert "Every query has the best <code>map@r</code> there is" in section(page, "worst-queries")


def test_items_of_no_rows_and_of_ids_of_another_kind_are_none(tmp_path: Path) -> None:
    columns = data(np.random.default_rng(0), image=PICTURES)
    train(tmp_path / "run", columns, mp.Items(), spread=(1e-6,), steps=1)
    run = RunFiles(tmp_path / "run")
    assert not _items.items_of(run, "validation", []).are_kept
    assert not _items.items_of(run, "validation", [3]).are_kept
    assert run.problems == []


def test_a_neighbour_of_the_gallery_is_not_a_query_of_the_same_id(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = {
        role: {**data(rng, image=np.full((24, 2, 2), value, np.uint8))}
        for role, value in (("query", 10), ("gallery", 200))
    }
    mp.evaluate(None, parts, [mp.Retrieval(), mp.Items()], rundir=tmp_path / "both")
    items = _items.items_of(RunFiles(tmp_path / "both"), "validation", ["item 3"])
    assert items.query("item 3").picture != items.neighbor("item 3").picture
    only = mp.Items(roles=("query",))
    mp.evaluate(None, parts, [mp.Retrieval(), only], rundir=tmp_path / "query")
    items = _items.items_of(RunFiles(tmp_path / "query"), "validation", ["item 3"])
    assert items.query("item 3").picture
    assert items.neighbor("item 3") == _items.Item()


def test_pictures_that_have_no_room_are_counted(rundir: Path, page: str) -> None:
    assert page
    run = RunFiles(rundir)
    room = run.picture_room
    assert _items.items_of(run, "validation", NAMES[:1]).left_out == 0
    one = room - run.picture_room
    run.picture_room = int(one * 2.5)
    items = _items.items_of(run, "validation", NAMES.tolist())
    assert items.left_out == 22
    assert items.query(NAMES[1]).picture is not None
    assert items.query(NAMES[2]) == _items.Item(text="<script>alert(2)</script> text")
    assert 0 <= run.picture_room < one


def test_what_is_no_picture_is_not_shown(tmp_path: Path) -> None:
    columns = data(np.random.default_rng(0), image=PICTURES)
    train(tmp_path, columns, mp.Items(), steps=1)
    (path,) = tmp_path.rglob("items.items.parquet")
    table = parquet.read_table(path)
    files = table.set_column(2, "picture", [[b"<svg onload=alert(1)>"] * 24])
    parquet.write_table(files, path)
    assert "svg onload" not in sections(tmp_path)
    path.write_bytes(b"damaged")
    assert 'With <code>mp.Items(pictures="image")</code>' in sections(tmp_path)


def test_the_worst_samples_tell_what_was_predicted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "output": rng.normal(size=(24, 3)),
        "label": rng.integers(0, 3, 24),
    }
    columns["output"][5] = np.where(np.arange(3) == columns["label"][5], -20, 0)
    inferencers = [
        *(mp.ClassificationError(k=[1]), mp.ConfusionMatrix(classes=["<i>", "b", "c"])),
        *(mp.Calibration(), mp.Items()),
    ]
    mp.evaluate(None, {**columns, "image": PICTURES}, inferencers, rundir=tmp_path)
    found = section(sections(tmp_path), "worst-samples")
    first = found.split("<li>")[1]
    named = ["&lt;i&gt;", "b", "c"]
    label, predicted = (named[at] for at in (columns["label"][5], columns["output"][5].argmax()))
    told = [f"label {label}", f"predicted {predicted}", "confidence 0.500", "nll 20.7"]
    assert "<br>".join(["<strong>sample 5</strong>", *told]) in first
    assert first.count("<img") == 1


def test_a_training_that_logs_no_metric_of_single_rows_has_no_such_sections(tmp_path: Path) -> None:
    scores = {"margin": np.arange(4.0)}
    mp.evaluate(None, scores, [mp.ScalarStats("margin")], rundir=tmp_path)
    page = sections(tmp_path)
    assert [section(page, key) for key in ("worst-queries", "worst-samples", "most-changed")] == [
        ""
    ] * 3
