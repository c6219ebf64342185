"""The drawings by themselves."""

from typing import Any

import matplotlib
import numpy as np
import pytest

from milepost._report._confusion import _square
from milepost._report._curves import thinned
from milepost._report._drawings import drawings
from milepost._report._figure import COLOURS, as_pixels, as_svg
from milepost._report._health import draw_spectrum
from milepost._report._items import Item, Items
from milepost._report._lines import Line, draw_curves
from milepost._report._remembered import RememberedItems
from milepost._report._thresholds import Point, draw_det, draw_roc
from milepost.inferencers._thumbnails import as_png

ROC = {
    "match_rate_genuine": np.array([0.2, 0.6, 1.0]),
    "match_rate_impostor": np.array([0.0, 0.1, 1.0]),
}
MATRIX = {name: np.array([0, 0, 1]) for name in ("label", "count")}
MATRIX |= {"predicted": np.array([0, 1, 1]), "count": np.array([3, 1, 2])}


def line(name: str, *values: float) -> Line:
    steps = np.arange(len(values), dtype=float)
    nothing = np.full(len(values), np.nan)
    return Line(name, steps, 10 * steps, np.array(values), nothing, nothing)


def test_a_drawing_takes_the_name_of_its_inferencer_where_two_have_one() -> None:
    assert list(drawings({"a/roc": ROC, "c/matrix": MATRIX})) == ["roc", "det", "confusion"]
    assert list(drawings({"a/roc": ROC, "b/roc": ROC})) == ["a/roc", "a/det", "b/roc", "b/det"]
    assert drawings({"a/queries": {"id": np.arange(3)}}) == {}


RANKED = {
    "r/queries": {
        "id": np.array(["a", "b", "c"]),
        "label": np.array(["<b>", "$x$", "c"]),
        "map@r": np.array([0.25, 0.0, 1.0]),
    },
    "r/neighbors": {
        "id": np.array(["a", "a", "b", "c"]),
        "rank": np.array([2, 1, 1, 1]),
        "neighbor": np.array(["c", "b", "a", "a"]),
        "label": np.array(["<b>", "$x$", "a", "c"]),
        "score": np.array([0.5, 0.75, 0.25, 1.0]),
        "relevant": np.array([True, False, False, True]),
    },
}
"""Of three queries the last could not be better."""
FACE = as_png(np.arange(12, dtype=np.uint8).reshape(3, 4, 1), 96)


def test_the_worst_queries_stand_with_their_nearest_neighbours_and_how_right_they_are() -> None:
    items = Items({("a", "query"): Item(FACE), ("b", "query"): Item(text="What b says.\n$")})
    figure = drawings(RANKED, items)["worst"]
    as_pixels(figure)
    (axes,) = figure.axes
    told = [text.get_text() for text in axes.texts[1:]]
    assert told == [
        *("query", "What b says. $", "b", "label $x$", "map@r 0.000"),
        *("✗ wrong", "a", "label a", "0.250"),  # with a picture
        *("query", "a", "label <b>", "map@r 0.250"),
        *("✗ wrong", "What b says. $", "b", "label $x$", "0.750"),
        *("✓ right", "c", "label <b>", "0.500"),  # neither picture nor text
    ]
    assert len(axes.images) == 2
    lines = [patch.get_linestyle() for patch in axes.patches]
    assert lines == ["solid", "dashed", "solid", "dashed", "solid"]


def test_where_no_query_could_be_better_none_is_drawn() -> None:
    ideal = {**RANKED["r/queries"], "map@r": np.ones(3)}
    assert drawings({**RANKED, "r/queries": ideal}) == {}
    assert drawings({"r/queries": RANKED["r/queries"]}) == {}
    assert list(drawings({**RANKED, **{f"s{x[1:]}": y for x, y in RANKED.items()}})) == [
        *("r/worst", "s/worst"),
    ]


def rows(role: str, *ids: str, texts: str = "text") -> dict[str, np.ndarray]:
    table = {"id": np.array(ids), "role": np.array([role] * len(ids))}
    pictures = np.array([FACE] * len(ids), object)
    return {**table, "picture": pictures, "text": np.array([texts] * len(ids))}


def test_rows_are_remembered_within_bounds_and_queries_first() -> None:
    size = 300 + len(FACE) + 4 * len("text")
    items = RememberedItems(2 * size)
    both = {"i/items": rows("gallery", "a", "b"), "j/items": rows("query", "a")}
    items.add("v", {**RANKED, **both})
    items.add("v", {**RANKED, "i/items": rows("query", "a")})  # known
    kept = items.of("v", has_gallery=True)
    whole = Item(FACE, "text")
    assert [kept.query("a"), kept.neighbor("a"), kept.neighbor("b")] == [whole, whole, Item()]
    items.add("v", {**RANKED, "i/items": rows("query", "a", texts="")})
    items.add("v", {**RANKED, "i/items": rows("query", "a", texts="many words")})
    assert items.of("v", has_gallery=True).query("a").text == ""  # no room for more


def test_rows_of_a_runner_that_ranks_nothing_are_not_remembered() -> None:
    items = RememberedItems(10**6)
    items.add("v", {"i/items": rows("query", "a")})
    assert not items.of("v", has_gallery=False).are_kept


def test_of_many_classes_those_are_drawn_that_are_confused_most() -> None:
    labels = np.arange(60_000)  # whose whole matrix would have 29 GB
    wrong = {"label": [7, 59_999], "predicted": [59_999, 7], "count": [2, 3]}
    matrix = {
        name: np.append(np.full(60_000, 5) if name == "count" else labels, more)
        for name, more in wrong.items()
    }
    names, shares, counts = _square(matrix)
    assert names == [*range(29), 59_999]
    assert (counts[7, 29], counts[29, 7], counts[0, 0], counts.sum()) == (2, 3, 5, 155)
    assert (shares[7, 29], shares[29, 29]) == (2 / 7, 5 / 8)


@pytest.mark.parametrize("draw", [draw_roc, draw_det])
def test_the_names_of_points_stay_within_the_drawing(draw: Any) -> None:
    points = [Point("eer, best_f1", 1.0, rate, rate) for rate in (0.2, 0.9, 1.0)]
    figure = draw(ROC, points)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 3
    assert all(0 < box.x0 < box.x1 <= figure.bbox.width for box in boxes)


def test_a_spectrum_of_one_value_can_be_seen() -> None:
    one, several = np.array([1]), np.array([1, 2])
    tables = [{"rank": x, "singular_value": 1.0 / x} for x in (one, several)]
    lines = draw_spectrum(["first", "last"], tables).axes[0].lines
    assert [each.get_marker() for each in lines] == ["o", "None"]


def test_a_drawing_has_pixels_on_white() -> None:
    pixels = as_pixels(drawings({"c/matrix": MATRIX})["confusion"])
    assert pixels.dtype == np.uint8
    assert pixels.shape[2:] == (3,)
    assert (pixels[0, 0] == 255).all()
    assert (pixels != 255).mean() > 0.01


def test_a_drawing_does_not_depend_on_the_style_that_a_user_has_set() -> None:
    shown = [as_pixels(draw_curves([line("f1", 0.2, 0.8)]))]
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.facecolor": "red", "font.size": 30}):
        shown.append(as_pixels(draw_curves([line("f1", 0.2, 0.8)])))
        assert matplotlib.rcParams["font.size"] == 30
    np.testing.assert_array_equal(shown[0], shown[1])


@pytest.mark.parametrize("text", ["文字", "$x", "a\x00b", "\ud800", "_hidden", "é & <y>"])
def test_any_text_can_be_drawn(text: str) -> None:
    svg = as_svg(draw_curves([line(f"f1@{text}", 0.2), line("f1@2", 0.4)]), text, text)
    shown = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    shown = shown.replace("\ud800", "\N{REPLACEMENT CHARACTER}")
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f">@{shown}<" in svg


def test_the_same_drawing_is_the_same_text() -> None:
    first, second = (as_svg(draw_curves([line("f1", 0.2, 0.8)]), "a", "b") for _ in range(2))
    assert first == second


def test_the_best_value_is_the_largest_or_smallest_as_the_name_tells() -> None:
    values = (0.5, np.nan, 0.1, 0.9)
    assert line("map@r", *values).best == 3
    assert line("eer", *values).best == 2
    assert line("norm_mean", *values).best is None
    assert line("eer", np.nan).best is None


def test_what_was_logged_often_becomes_means_between_the_least_and_the_largest() -> None:
    points = [(step, step / 2, float(step % 2)) for step in range(6000)]
    thin = thinned("train/loss", points)
    assert len(thin.steps) == 300
    assert thin.steps[-1] == 5999
    assert set(thin.values) == {0.5}
    assert (set(thin.low), set(thin.high)) == ({0.0}, {1.0})
    assert thinned("train/loss", points[:10]).values.tolist() == [0.0, 1.0] * 5


@pytest.mark.parametrize("name", [name for name in COLOURS if name not in ("paper", "rule")])
def test_text_of_every_colour_can_be_read_on_light_and_on_dark(name: str) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    for paper, ink in zip(COLOURS["paper"], COLOURS[name], strict=True):
        low, high = sorted(map(luminance, (paper, ink)))
        assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG 2, level AA
