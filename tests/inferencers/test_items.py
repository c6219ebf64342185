"""Pictures and texts of rows, kept once."""

import builtins
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

import milepost as mp
from milepost.inferencers import Items
from milepost.inferencers._thumbnails import as_bytes, as_pictures, as_png

RAMP = np.arange(15).reshape(3, 5)  # a picture 3 high, 5 wide


def items_of(items: Items, **columns: Any) -> Any:
    items.keep_evidence = True
    items.reset()
    size = len(next(iter(columns.values())))
    items.update({"id": np.arange(size), "role": np.full(size, "query"), **columns})
    return items.evidence()["items"]


def opened(png: bytes) -> NDArray[Any]:
    return np.asarray(Image.open(io.BytesIO(png)))


COLOURS = RAMP.astype(np.uint8)[..., None] * [1, 10, 15]


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (RAMP.astype(np.uint8), RAMP),
        (RAMP.astype(np.uint8)[..., None], RAMP),
        (RAMP.astype(np.uint8)[None], RAMP),
        (COLOURS.astype(np.uint8), COLOURS),
        (COLOURS.astype(np.uint8).transpose(2, 0, 1), COLOURS),
        (np.dstack([COLOURS, RAMP]).astype(np.uint8), np.dstack([COLOURS, RAMP])),
        (RAMP / 255, RAMP),
        ((RAMP / 255).astype(np.float16), RAMP),
        (RAMP > 5, 255 * (RAMP > 5)),
        (RAMP - 1, np.rint(RAMP * 255 / 14)),
        (RAMP * 1e6, np.rint(RAMP * 255 / 14)),
        (np.where(RAMP == 3, np.nan, RAMP * 2.0), np.rint(np.where(RAMP == 3, 0, RAMP) * 255 / 14)),
        (np.full((3, 5), 7), np.zeros((3, 5))),
        (np.full((3, 5), np.inf), np.zeros((3, 5))),
    ],
)
def test_a_picture_is_read_back_as_it_was(picture: NDArray[Any], expected: NDArray[Any]) -> None:
    table = items_of(Items(), image=picture[None])
    np.testing.assert_array_equal(opened(table["picture"][0]), expected)


def test_each_picture_is_scaled_by_itself() -> None:
    table = items_of(Items(), image=np.stack([RAMP / 255, RAMP * 100.0]))
    assert [opened(png).max() for png in table["picture"]] == [14, 255]


def test_flat_pixels_become_pictures_of_the_shape_that_is_given() -> None:
    flat = RAMP.reshape(1, 15).astype(np.uint8)
    np.testing.assert_array_equal(
        opened(items_of(Items(shape=(3, 5)), image=flat)["picture"][0]), RAMP
    )
    planes = COLOURS.transpose(2, 0, 1).reshape(1, 45).astype(np.uint8)
    table = items_of(Items(shape=(3, 3, 5)), image=planes)
    np.testing.assert_array_equal(opened(table["picture"][0]), COLOURS)


@pytest.mark.parametrize(("shape", "expected"), [((200, 100), (96, 48)), ((20, 96), (20, 96))])
def test_a_picture_becomes_smaller_and_never_larger(shape: Any, expected: Any) -> None:
    assert opened(as_png(np.zeros((*shape, 1)), 96)).shape == expected


def test_ids_of_two_roles_may_be_of_two_kinds() -> None:
    items = Items(None, "text")
    items.keep_evidence = True
    for role, ids in (("query", np.arange(2)), ("gallery", np.array(["a", "b"]))):
        items.update({"id": ids, "role": np.full(2, role), "text": np.array(["x", "y"])})
    table = items.evidence()["items"]
    assert list(zip(table["role"], table["id"], strict=True)) == [
        ("query", "0"),
        ("query", "1"),
        ("gallery", "a"),
        ("gallery", "b"),
    ]


def test_of_two_ways_to_read_a_picture_channels_are_last() -> None:
    assert as_pictures(np.zeros((1, 3, 8, 3)), "image").shape == (1, 3, 8, 3)


@pytest.mark.parametrize(
    ("rows", "shape", "message"),
    [
        (np.zeros((2, 12)), None, "got (2, 12)"),
        (np.zeros((2, 12)), (4, 4), "got (2, 12), which `shape=(4, 4)` does not fit"),
        (np.zeros((2, 5, 8, 8)), None, "got (2, 5, 8, 8)"),
        (np.zeros((2, 0, 8)), None, "got (2, 0, 8, 1)"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(rows: Any, shape: Any, message: str) -> None:
    with pytest.raises(ValueError, match="`image` must hold pictures") as caught:
        items_of(Items(shape=shape), image=rows)
    assert str(caught.value) == (
        "`image` must hold pictures, shape (N, H, W), (N, H, W, 1 | 3 | 4) or (N, 1 | 3, H, W), "
        f"or flat ones whose `shape=` is given, {message}"
    )


def test_texts_are_no_pictures() -> None:
    with pytest.raises(ValueError, match="`image` must hold the numbers of pictures, got dtype <U"):
        items_of(Items(), image=np.array(["a"]))


def test_a_long_text_is_cut_and_says_so() -> None:
    table = items_of(Items(None, "text", characters=5), text=np.array(["12345", "123 56", "éà"]))
    assert table["text"].tolist() == ["12345", "123…", "éà"]
    assert "picture" not in table


@pytest.mark.parametrize("array", [np.arange(2), np.array([["a", "b"], ["c", "d"]])])
def test_what_is_not_one_text_a_row_is_refused(array: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=f"`text` must hold one text a row, got {array.dtype} of"):
        items_of(Items(None, "text"), text=array)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pictures": None}, "`pictures` or `texts` must name a field, got None for both"),
        ({"size": 0}, "`size` must be a whole number of at least 1, got 0"),
        ({"characters": 1.5}, "`characters` must be a whole number of at least 1, got 1.5"),
        ({"roles": "query"}, "`roles` must be names of roles, got 'query'"),
    ],
)
def test_arguments_out_of_range_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        Items(**options)
    assert str(caught.value) == message


def test_without_pillow_pictures_say_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any) -> Any:
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError) as caught:
        Items()
    told = 'pillow is not installed; pip install "milepost[report]" brings it'
    assert str(caught.value) == told
    assert Items(None, "text").fetches == ("text",)


DATA = {
    "query": {"image": np.zeros((3, 2, 2)), "output": np.eye(3), "label": np.arange(3)},
    "gallery": {"image": np.ones((4, 2, 2)), "output": np.ones((4, 3)), "label": np.arange(4)},
}


def files_of(rundir: Path) -> dict[str, Any]:
    paths = sorted(rundir.glob("tables/validation/*/items.items.parquet"))
    return {path.parent.name: parquet.read_table(path).to_pydict() for path in paths}


def test_rows_are_written_once_in_a_training_and_anew_in_another(tmp_path: Path) -> None:
    runner = mp.InferenceRunner(DATA, [Items()], every="1 step")
    for name in ("first", "second"):
        with mp.Loop(None, callbacks=[runner], rundir=tmp_path / name, monitors=None) as loop:
            for _ in loop.steps(range(3)):
                pass
        (step,) = files_of(tmp_path / name)
        table = files_of(tmp_path / name)[step]
        assert step == "00000001"
        assert table["id"] == [0, 0, 1, 1, 2, 2, 3]
        assert table["role"] == ["gallery", "query"] * 3 + ["gallery"]
        shown = [opened(png).max() for png in table["picture"]]
        assert shown == [255, 0, 255, 0, 255, 0, 255]


def test_rows_that_come_later_are_added() -> None:
    items, ids = Items(), [np.array(["a", "b"]), np.array(["b", "c"]), np.array(["a", "d"])]
    items.keep_evidence = True
    found = []
    for run, names in enumerate(ids):
        items.earlier_runs = run
        items.reset()
        items.update({"id": names, "role": np.full(2, "query"), "image": np.zeros((2, 2, 2))})
        found.append([table["id"].tolist() for table in items.evidence().values()])
    assert found == [[["a", "b"]], [["c"]], [["d"]]]


def test_rows_of_a_run_that_failed_are_given_by_the_next(tmp_path: Path) -> None:
    class Fails(mp.Inferencer):
        name = "fails"
        fetches = ()
        runs = 0

        def reset(self) -> None: ...
        def update(self, rows: Any) -> None: ...
        def state(self) -> Any:
            return {}

        def merge(self, states: Any) -> None: ...
        def compute(self) -> Any:
            return {}

        def evidence(self) -> Any:
            self.runs += 1
            if self.runs < 2:
                msg = "not yet"
                raise OSError(msg)
            return {}

    runner = mp.InferenceRunner(DATA, [Items(), Fails()], every="1 step", on_error="warn")
    with (
        pytest.warns(RuntimeWarning, match="not yet"),
        mp.Loop(None, callbacks=[runner], rundir=tmp_path, monitors=None) as loop,
    ):
        for _ in loop.steps(range(3)):
            pass
    assert list(files_of(tmp_path)) == ["00000002"]


def test_a_resumed_training_writes_all_rows_anew(tmp_path: Path) -> None:
    state: Any = None
    for _ in range(2):
        runner = mp.InferenceRunner(DATA, [Items()], every="1 step")
        loop = mp.Loop(None, callbacks=[runner], rundir=tmp_path, monitors=None)
        if state:
            loop.load_state_dict(state)
        with loop:
            for _ in loop.steps(range(2)):
                pass
            state = loop.state_dict()
    assert {step: len(table["id"]) for step, table in files_of(tmp_path).items()} == {
        "00000001": 7,
        "00000003": 7,
    }


def test_nothing_is_encoded_where_nobody_takes_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(*args: Any) -> bytes:
        raise AssertionError

    monkeypatch.setattr("milepost.inferencers._items.as_png", encode)
    assert mp.evaluate(None, DATA, [Items()]) == {}


def test_bytes_follow_their_rule() -> None:
    whole = np.arange(256, dtype=np.uint8)
    assert as_bytes(whole) is whole
    np.testing.assert_array_equal(as_bytes(whole / 255), whole)
