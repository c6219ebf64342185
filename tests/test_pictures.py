"""The report's figures where monitors show pictures."""

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from pyarrow import parquet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import milepost as mp
from milepost._report import _drawings
from milepost._report._drawings import drawings
from milepost._report._figure import as_pixels
from milepost._report._items import Items, rows_of

RNG = np.random.default_rng(0)
DATA = {"output": RNG.normal(size=(40, 4)), "label": np.arange(40) % 4}


class Shown(mp.Monitor):
    """Keeps the pictures of records."""

    takes_pictures = True

    def __init__(self) -> None:
        self.records: list[mp.Record] = []

    def write(self, record: mp.Record) -> None:
        if record.pictures:
            self.records.append(record)


def train(*callbacks: mp.Callback, steps: int = 1, **options: Any) -> None:
    inferencers = [mp.MatchRate(), mp.EmbeddingMap(method="pca")]
    runner = mp.InferenceRunner(DATA, inferencers, every="1 step", inputs=())
    with mp.Loop(None, callbacks=[runner, *callbacks], **options) as loop:
        for _ in loop.steps(range(steps)):
            pass


def columns(path: Path) -> Mapping[str, Any]:
    table = parquet.read_table(path)
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def test_tensorboard_shows_what_the_report_shows(tmp_path: Path) -> None:
    monitors = [mp.TensorBoard(tmp_path), mp.ParquetTables(tmp_path / "tables")]
    train(mp.Pictures(), steps=2, monitors=monitors)
    events = EventAccumulator(str(tmp_path)).Reload()
    names = {f"validation/{name}" for name in ("roc", "det", "scores", "map")}
    assert set(events.Tags()["images"]) == names
    for name in names:
        assert [image.step for image in events.Images(name)] == [1, 2]
    folder = tmp_path / "tables/validation/00000002"
    tables = {
        path.name.removesuffix(".parquet").replace(".", "/"): columns(path)
        for path in folder.iterdir()
    }
    for name, figure in drawings(tables).items():
        png = events.Images(f"validation/{name}")[1].encoded_image_string
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), as_pixels(figure))


def test_pictures_stand_at_the_step_of_the_evaluation() -> None:
    shown = Shown()
    train(mp.Pictures(), steps=2, monitors=[shown])
    assert [(each.runner, each.step, each.scalars) for each in shown.records] == [
        ("validation", 1, {}),
        ("validation", 2, {}),
    ]
    assert all(picture.std() > 0 for picture in shown.records[0].pictures.values())


class Taken(Shown):
    """Keeps whole records too."""

    takes_tables = True

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[Mapping[str, Any]] = []

    def write(self, record: mp.Record) -> None:
        super().write(record)
        if record.tables:
            self.tables.append(record.tables)


def ranked(pictures: mp.Pictures, shade: int) -> Taken:
    """What two evaluations of queries with pictures of a shade give."""
    image = np.full((40, 4, 4), shade, np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None]
    inferencers = [mp.Retrieval(k=1), mp.Items()]
    runner = mp.InferenceRunner({**DATA, "image": image}, inferencers, every="1 step", inputs=())
    taken = Taken()
    with mp.Loop(None, callbacks=[runner, pictures], monitors=[taken]) as loop:
        for _ in loop.steps(range(2)):
            pass
    return taken


def test_items_that_come_once_in_a_training_are_shown_at_each_evaluation() -> None:
    pictures = mp.Pictures()
    for shade in (0, 150):  # a second training has items of its own
        taken = ranked(pictures, shade)
        first, second = taken.tables
        assert "items/items" not in second
        items = Items(dict(rows_of(first["items/items"])))
        drawn = taken.records[1].pictures["validation/worst"]
        np.testing.assert_array_equal(drawn, as_pixels(drawings(second, items)["worst"]))
        assert (drawn.shape, drawn.dtype) == (
            taken.records[0].pictures["validation/worst"].shape,
            np.uint8,
        )


def test_items_without_room_are_shown_by_their_ids() -> None:
    taken = ranked(mp.Pictures(max_memory_bytes=0), 0)
    drawn = taken.records[1].pictures["validation/worst"]
    np.testing.assert_array_equal(drawn, as_pixels(drawings(taken.tables[1])["worst"]))
    with pytest.raises(ValueError, match=r"^`max_memory_bytes` must be at least 0, got -1$"):
        mp.Pictures(max_memory_bytes=-1)


def test_where_no_monitor_shows_pictures_nothing_is_drawn_or_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def draw(*args: Any) -> Figure:
        raise AssertionError

    monkeypatch.setattr(_drawings, "drawings", draw)
    records: list[mp.Record] = []
    train(mp.Pictures(), monitors=[records.append])
    assert [record.tables for record in records] == [{}]


def test_a_figure_that_fails_is_a_warning_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> dict[str, Figure]:
        msg = "no font"
        raise OSError(msg)

    monkeypatch.setattr(_drawings, "drawings", fail)
    with pytest.warns(RuntimeWarning, match="Pictures failed") as warned:
        train(mp.Pictures(), steps=3, monitors=[Shown()])
    assert [str(each.message) for each in warned] == [
        "Pictures failed (OSError: no font); the training goes on"
    ]


def test_what_is_missing_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "milepost._report._drawings", None)
    with pytest.raises(ImportError):
        train(mp.Pictures(), monitors=[Shown()])
    train(mp.Pictures(), monitors=[])  # where it is not needed


def test_a_callback_that_takes_tables_is_given_them() -> None:
    class Takes(mp.Callback):
        takes_tables = True

        def on_metrics(self, record: mp.Record, weights: Any) -> None:
            self.tables = set(record.tables)

    takes = Takes()
    train(takes, monitors=[])
    assert "embedding_map/map" in takes.tables


def test_the_monitors_that_show_pictures_say_so() -> None:
    shown: list[type[mp.Monitor]] = [mp.TensorBoard, mp.WandB, mp.MLflow]
    others: list[type[mp.Monitor]] = [mp.Terminal, mp.JsonLines, mp.Csv, mp.ParquetTables]
    assert all(monitor.takes_pictures for monitor in shown)
    assert not any(monitor.takes_pictures for monitor in others)
    assert mp.monitors.Monitors([mp.TensorBoard("unused")]).takes_pictures
    assert not mp.monitors.Monitors([]).takes_pictures
