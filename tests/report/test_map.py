"""The map of embeddings."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milepost as mp
from milepost._report._figure import as_pixels, as_svg
from milepost._report._map import draw_map, embedding_map
from milepost._report._run_files import RunFiles


def columns(labels: Any, **others: Any) -> dict[str, Any]:
    size = len(labels)
    rng = np.random.default_rng(0)
    method = np.full(size, "pca")
    places = {"x": rng.normal(size=size), "y": rng.normal(size=size), "method": method}
    return {"item": np.arange(size), "label": np.array(labels), **places, **others}


def legend(figure: Any) -> list[str]:
    (axes,) = figure.axes
    return [text.get_text() for text in axes.get_legend().get_texts()]


def look(points: Any) -> tuple[bytes, bytes]:
    """The colour and the marker of points."""
    return points.get_facecolor()[0].tobytes(), points.get_paths()[0].vertices.tobytes()


def test_classes_stand_in_order_each_with_a_look_of_its_own() -> None:
    figure = draw_map(columns([10, 2, 1, 2] * 3))
    assert legend(figure) == ["1", "2", "10"]
    (axes,) = figure.axes
    assert len({look(each) for each in axes.collections}) == 3


def test_twelve_classes_are_told_apart_and_of_more_eleven() -> None:
    twelve = draw_map(columns(list(range(12)) * 2))
    assert legend(twelve) == [str(at) for at in range(12)]
    (axes,) = twelve.axes
    assert len({look(each) for each in axes.collections}) == 12
    more = draw_map(columns([at for at in range(14) for _ in range(1 + at)]))
    assert legend(more) == ["3 others", *(str(at) for at in range(3, 14))]


def test_texts_of_the_user_stay_texts() -> None:
    names = ["$x^2$ <b>&", "a name that is far too long for a legend", "\x00\ud800"]
    figure = draw_map(columns(names))
    assert "$x^2$ <b>&" in legend(figure)
    assert "a name t… legend" in legend(figure)
    svg = as_svg(figure, "t", "d", points=["<i>"] * 3)
    assert svg.count("<title>&lt;i&gt;</title>") == 3
    assert as_pixels(figure).std() > 0


def test_names_that_begin_with_an_underscore_stand_in_the_legend() -> None:
    assert legend(draw_map(columns(["_a", "_b", "_b"]))) == ["_a", "_b"]


@pytest.mark.parametrize("longest", [1, 9, 16, 40])
def test_the_legend_stands_within_the_drawing(longest: int) -> None:
    figure: Any = draw_map(columns([f"{at}{'w' * longest}"[:longest] for at in range(9)] + ["x"]))
    as_pixels(figure)
    (axes,) = figure.axes
    box = axes.get_legend().get_window_extent()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_labels_of_several_columns_and_none_at_all() -> None:
    assert legend(draw_map(columns([[1, 2], [1, 3]]))) == ["1 / 2", "1 / 3"]
    bare = columns([0, 0])
    del bare["label"]
    (axes,) = draw_map(bare).axes
    assert axes.get_legend() is None


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    rundir: Path = tmp_path_factory.mktemp("map") / "run"
    rng = np.random.default_rng(0)
    data = {"output": rng.normal(size=(20, 4)), "label": np.arange(20) % 3}
    inferencers = [mp.EmbeddingMap(samples=15, method="pca")]
    runner = mp.InferenceRunner(data, inferencers, every="1 step", inputs=())
    with mp.Loop(None, callbacks=[runner], rundir=rundir) as loop:
        for _ in loop.steps(range(3)):
            pass
    found = embedding_map(RunFiles(rundir))
    assert found is not None
    return found.html


def test_the_page_has_the_first_map_and_the_last(page: str) -> None:
    told = re.findall(r"<figcaption><b>(.*?)</b> (.*?)</figcaption>", page)
    method = "15 embeddings by the first two principal axes."
    assert told == [("validation, step 1", method), ("validation, step 3", method)]


def test_each_point_tells_its_id_and_label(page: str) -> None:
    titles = re.findall(r"<title>(\d+): label (\d)</title>", page)
    assert len(titles) == 30
    assert all(int(item) % 3 == int(label) for item, label in titles)
