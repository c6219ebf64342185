"""The page of a run, in a browser."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import milepost as mp
from tests.report.folders import HOSTILE, hostile

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.xdist_group("report"),
]

QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--headless", *QUIET])
        yield browser
        browser.close()


@pytest.fixture
def show(browser: Any) -> Iterator[Open]:
    """Opens a page, on which nothing may be loaded, said or asked."""
    happened: list[str] = []
    requested: list[str] = []
    contexts = []

    def show(path: Path, width: int = 1280, **options: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: happened.append(message.text))
        page.on("pageerror", lambda error: happened.append(str(error)))
        page.on("dialog", lambda dialog: happened.append(dialog.message))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(path.as_uri())
        requested.remove(path.as_uri())
        return page

    yield show
    for context in contexts:
        context.close()
    assert (happened, requested) == ([], [])


def test_the_page_shows_its_sections_and_draws_its_figures(path: Path, show: Open) -> None:
    page = show(path)
    headings = page.locator("h2").all_inner_texts()
    assert headings[:4] == ["Summary", "Curves", "Worst queries", "Worst samples"]
    for figure in page.locator("figure:visible svg:visible").all():
        box = figure.bounding_box()
        assert box["width"] > 150
        assert box["height"] > 90
    assert page.locator("figure:visible svg:visible").count() > 10
    assert page.locator("svg use").first.bounding_box()["width"] > 0  # a reference that resolves


def test_a_narrow_page_does_not_scroll_sideways(path: Path, show: Open) -> None:
    page = show(path, 320)
    for width in (320, 390, 768):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_long_label_stays_in_its_tile(path: Path, show: Open) -> None:
    page = show(path, 390)
    tile = page.locator("#most-changed li:has(img)").first
    tile.locator(".about > *").first.evaluate("label => (label.textContent = 'x'.repeat(80))")
    assert tile.evaluate("tile => tile.scrollWidth - tile.clientWidth") <= 0


def test_neighbours_are_told_apart_by_words_and_lines_and_lie_side_by_side(
    path: Path, show: Open
) -> None:
    page = show(path)
    for kind, line in (("right", "solid"), ("wrong", "dashed")):
        tile = page.locator(f"#worst-queries li.{kind}").first
        assert kind in tile.inner_text()
        assert tile.evaluate("tile => getComputedStyle(tile).borderStyle") == line
    picture = page.locator("#worst-queries img").first
    assert picture.evaluate("img => [img.naturalWidth, img.naturalHeight]") == [90, 60]
    before, after = page.locator("#most-changed .sides").first.locator("> div").all()
    assert before.bounding_box()["y"] == after.bounding_box()["y"]
    assert before.bounding_box()["x"] < after.bounding_box()["x"]
    page.set_viewport_size({"width": 390, "height": 800})
    assert before.bounding_box()["x"] == after.bounding_box()["x"]


def test_curves_go_over_steps_or_wall_time(path: Path, show: Open) -> None:
    page = show(path)
    by_step, by_time = (page.locator(f"#curves .by-{x} svg").first for x in ("step", "time"))
    assert (by_step.is_visible(), by_time.is_visible()) == (True, False)
    page.get_by_role("radio", name="wall time").check()
    assert (by_step.is_visible(), by_time.is_visible()) == (False, True)


def test_figures_are_dark_where_the_page_is(path: Path, show: Open) -> None:
    script = """() => [document.body, document.querySelector("svg text")].map(
        (x) => [getComputedStyle(x).backgroundColor, getComputedStyle(x).fill])"""
    (light, _), (_, light_text) = show(path).evaluate(script)
    (dark, _), (_, dark_text) = show(path, color_scheme="dark").evaluate(script)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(21, 24, 29)")
    assert (light_text, dark_text) == ("rgb(90, 100, 114)", "rgb(162, 171, 184)")


def test_a_click_sorts_the_classes_and_another_turns_them_round(path: Path, show: Open) -> None:
    page = show(path)
    heading = page.locator("#classes thead th").filter(has_text="precision")
    at = page.locator("#classes thead th").all_inner_texts().index("precision") + 1
    for order in ("ascending", "descending"):
        heading.get_by_role("button").click()
        cells = page.locator(f"#classes tbody tr > :nth-child({at})").all_inner_texts()
        assert heading.get_attribute("aria-sort") == order
        assert cells == sorted(cells, key=float, reverse=order == "descending")
        assert len(set(cells)) > 1


def test_the_page_reads_without_scripts(path: Path, show: Open) -> None:
    page = show(path, java_script_enabled=False)
    assert page.locator("#summary tbody tr").count() > 5
    assert page.locator("button").count() == 0
    page.get_by_role("radio", name="wall time").check()
    assert page.locator("#curves .by-time svg").first.is_visible()


def test_text_stays_text_in_pages_and_in_drawings(tmp_path: Path, show: Open) -> None:
    page = show(mp.report(hostile(tmp_path / "run")), 390)
    assert page.locator("script").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    texts = page.locator("svg text").all_text_contents()
    shown = f"{HOSTILE[:12]}\N{HORIZONTAL ELLIPSIS}{HOSTILE[-11:]}"
    assert shown in texts  # an operating point
    assert HOSTILE in page.locator("#curves figcaption b").all_inner_texts()
    assert HOSTILE in page.locator("#classes tbody th").all_inner_texts()
