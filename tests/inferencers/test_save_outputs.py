import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

import milepost as mp
from milepost.errors import UnknownNameError
from milepost.inferencers import SaveOutputs
from milepost.inferencers._save_outputs import bfloat16_bits
from tests.inferencers.rounds import merge, split


def rows_of(count: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return {
        "id": np.array([f"row {at:03}" for at in rng.permutation(count)]),
        "role": np.where(np.arange(count) % 4, "query", "gallery"),
        "output": rng.normal(size=(count, 3)).astype(np.float32),
        "map": rng.integers(0, 255, (count, 2, 2), np.uint8),
        "label": np.array([f"{'x' * (at % 5)}\tß" for at in range(count)]),
        "loss": rng.normal(size=count),
    }


NAMES = ("output", "map", "label", "loss")


def save(rows: Any, path: Path, *names: str, workers: int = 1, **options: Any) -> Any:
    """Run as the runner does: only the chief computes."""
    savers = [SaveOutputs(*(names or NAMES), path=path, **options) for _ in range(workers)]
    for saver, batches in zip(savers, split(rows, workers, 4), strict=True):
        saver.reset()
        for batch in batches:
            saver.update(batch)
    merge(savers)  # type: ignore[arg-type]
    return savers[0].compute()


def in_order(rows: Any) -> Any:
    order = np.lexsort((rows["id"], rows["role"]))
    return {name: column[order] for name, column in rows.items()}


def files(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


@pytest.mark.parametrize("workers", [1, 3])
def test_parquet_holds_every_row_in_the_order_of_ids(tmp_path: Path, workers: int) -> None:
    rows = rows_of(50)
    assert save(rows, tmp_path / "out", workers=workers) == {"rows_saved": 50}
    assert files(tmp_path / "out") == ["outputs.parquet"]
    table = pyarrow.parquet.read_table(tmp_path / "out/outputs.parquet")
    expected = in_order(rows)
    for name in ("id", "role", "label", "loss"):
        assert table[name].to_pylist() == expected[name].tolist()
    for name in ("output", "map"):
        np.testing.assert_array_equal(
            np.array(table[name].to_pylist()), expected[name].reshape(50, -1)
        )
    assert table.schema.field("map").metadata == {b"shape": b"2,2"}


@pytest.mark.parametrize("workers", [1, 3])
def test_npy_holds_a_file_a_column(tmp_path: Path, workers: int) -> None:
    rows = rows_of(50)
    save(rows, tmp_path, workers=workers, format="npy")
    assert files(tmp_path) == sorted(f"{name}.npy" for name in rows)
    for name, expected in in_order(rows).items():
        saved = np.load(tmp_path / f"{name}.npy")
        np.testing.assert_array_equal(saved, expected)
        assert saved.dtype == expected.dtype


def test_a_slash_in_a_name_makes_no_folder(tmp_path: Path) -> None:
    rows = {**rows_of(5), "block/conv": np.arange(5)}
    save(rows, tmp_path, "block/conv", format="npy")
    assert files(tmp_path) == ["block%2Fconv.npy", "id.npy", "role.npy"]


def test_each_step_may_have_a_folder_of_its_own(tmp_path: Path) -> None:
    saver = SaveOutputs("x", path=tmp_path / "{step}" / "x", format="npy")
    runner = mp.InferenceRunner({"x": np.arange(3)}, [saver], every="2 steps | at start")
    with mp.Loop(None, callbacks=[runner], monitors=[]) as loop:
        list(loop.steps(range(4)))
    folders = [tmp_path / name / "x" for name in ("00000000", "00000002", "00000004")]
    assert sorted(tmp_path.glob("*/*")) == folders
    assert all(np.load(folder / "x.npy").tolist() == [0, 1, 2] for folder in folders)


def test_a_path_holds_no_other_braces(tmp_path: Path) -> None:
    message = r"^`path` may hold '\{step\}' and no other braces, got '.*/\{epoch\}'$"
    with pytest.raises(ValueError, match=message):
        SaveOutputs("x", path=tmp_path / "{epoch}")


def test_files_are_the_same_whatever_the_workers(tmp_path: Path) -> None:
    rows = rows_of(40)
    for workers in (1, 3):
        save(rows, tmp_path / str(workers), workers=workers)
    one, three = ((tmp_path / f"{each}/outputs.parquet").read_bytes() for each in (1, 3))
    assert one == three


def test_the_projector_reads_texts_and_their_configuration(tmp_path: Path) -> None:
    rows = rows_of(6)
    save(rows, tmp_path, "output", "label", format="projector")
    expected = in_order(rows)
    np.testing.assert_array_equal(
        np.loadtxt(tmp_path / "tensors.tsv", dtype=np.float32), expected["output"]
    )
    lines = (tmp_path / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "id\trole\tlabel"
    assert [line.split("\t")[0] for line in lines[1:]] == expected["id"].tolist()
    assert {line.count("\t") for line in lines} == {2}  # also where a label holds one
    text_format = pytest.importorskip("google.protobuf.text_format")
    projector = pytest.importorskip("tensorboard.plugins.projector")
    config = text_format.Parse(
        (tmp_path / "projector_config.pbtxt").read_text(), projector.ProjectorConfig()
    )
    (embedding,) = config.embeddings
    assert (embedding.tensor_path, embedding.metadata_path) == ("tensors.tsv", "metadata.tsv")


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_float16_rounds_floating_point_numbers_only(tmp_path: Path, format: Any) -> None:
    rows = rows_of(20)
    save(rows, tmp_path, "output", "map", format=format, dtype="float16")
    expected = in_order(rows)
    if format == "npy":
        output, kept = (np.load(tmp_path / f"{name}.npy") for name in ("output", "map"))
    else:
        table = pyarrow.parquet.read_table(tmp_path / "outputs.parquet")
        output, kept = (np.array(table[name].to_pylist()) for name in ("output", "map"))
        kept = kept.reshape(-1, 2, 2)
    np.testing.assert_array_equal(output.astype(np.float16), expected["output"].astype(np.float16))
    np.testing.assert_array_equal(kept, expected["map"])


def test_bfloat16_is_saved_as_its_bits(tmp_path: Path) -> None:
    rows = rows_of(20)
    save(rows, tmp_path, "output", format="npy", dtype="bfloat16")
    bits = np.load(tmp_path / "output.npy")
    read = (bits.astype("u4") << 16).view("f4")
    np.testing.assert_allclose(read, in_order(rows)["output"], rtol=2.0**-8)


@given(numpy_strategies.arrays(np.float32, st.integers(1, 9)))
def test_bfloat16_rounds_as_torch_does(array: Any) -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.from_numpy(array).to(torch.bfloat16).float().numpy()
    ours = (bfloat16_bits(array).astype("u4") << 16).view("f4")
    np.testing.assert_array_equal(ours, theirs)


def test_a_number_beyond_float16_is_named(tmp_path: Path) -> None:
    rows = rows_of(2)
    rows["output"][1, 2] = 1e5
    message = (
        "`output` must be at most 65504 in size for float16 (bfloat16 holds more), "
        f"got 100000.0 at id '{rows['id'][1]}'"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SaveOutputs("output", path=tmp_path, dtype="float16").update(rows)


def test_a_run_that_fails_leaves_the_files_of_the_run_before(tmp_path: Path) -> None:
    save(rows_of(8), tmp_path)
    before = (tmp_path / "outputs.parquet").read_bytes()
    saver = SaveOutputs(*NAMES, path=tmp_path)
    saver.update(rows_of(5))
    assert len(files(tmp_path)) == 2
    saver.reset()
    assert files(tmp_path) == ["outputs.parquet"]
    saver.update(rows_of(5))
    del saver
    assert files(tmp_path) == ["outputs.parquet"]
    assert (tmp_path / "outputs.parquet").read_bytes() == before


def test_a_later_run_replaces_the_files_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    save(rows_of(8), tmp_path)
    save(rows_of(5), tmp_path)
    assert pyarrow.parquet.read_metadata(tmp_path / "outputs.parquet").num_rows == 5
    assert files(tmp_path) == ["notes.txt", "outputs.parquet"]


def test_an_empty_run_saves_nothing(tmp_path: Path) -> None:
    saver = SaveOutputs("output", path=tmp_path / "out")
    assert saver.compute() is None
    assert not (tmp_path / "out").exists()


def test_it_saves_what_a_runner_fetches(tmp_path: Path) -> None:
    data = {"output": np.arange(6.0).reshape(3, 2), "label": np.array([2, 1, 0])}
    metrics = mp.evaluate(None, data, [mp.SaveOutputs(path=tmp_path, format="npy")])
    assert metrics == {"validation/rows_saved": 3.0}
    np.testing.assert_array_equal(np.load(tmp_path / "output.npy"), data["output"])
    np.testing.assert_array_equal(np.load(tmp_path / "id.npy"), [0, 1, 2])


@pytest.mark.parametrize(
    ("change", "found"),
    [({"loss": np.zeros((4, 2))}, "<f8 (2,)"), ({"loss": np.zeros(4, "f4")}, "<f4 ()")],
)
def test_a_column_keeps_its_type_and_shape(tmp_path: Path, change: Any, found: str) -> None:
    saver = SaveOutputs("loss", path=tmp_path)
    saver.update(rows_of(4))
    message = f"`loss` must keep its type and the shape of its rows, got {found} after <f8 ()"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        saver.update({**rows_of(4), **change})


def test_workers_that_disagree_on_a_type_are_an_error(tmp_path: Path) -> None:
    one, other = (SaveOutputs("loss", path=tmp_path) for _ in range(2))
    one.update(rows_of(4))
    other.update({**rows_of(4, 1), "loss": np.zeros((4, 2))})
    one.merge([other.state()])
    message = "`loss` must have one type and shape on all workers, got float64 () and float64 (2,)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        one.compute()


def test_the_projector_takes_one_vector_a_row(tmp_path: Path) -> None:
    message = "`label` must be one vector a row for the projector, got ()"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        save(rows_of(4), tmp_path, "label", "output", format="projector")


@pytest.mark.parametrize("names", [("a", "a"), (), ("output", "id")])
def test_names_are_different_and_not_those_of_every_row(tmp_path: Path, names: Any) -> None:
    rule = "others than 'id' and 'role'" if "id" in names else "a field or several different ones"
    with pytest.raises(ValueError, match=f"^`names` must be {rule}, got {re.escape(str(names))}$"):
        SaveOutputs(names, path=tmp_path)


def test_formats_and_dtypes_are_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"^unknown format 'csv'; there are: 'npy', 'par"):
        SaveOutputs("x", path=tmp_path, format="csv")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=r"^unknown dtype 'int8'; there are: 'bfloat16', "):
        SaveOutputs("x", path=tmp_path, dtype="int8")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^`dtype` must be None for the projector"):
        SaveOutputs("x", path=tmp_path, format="projector", dtype="float16")


def test_objects_are_an_error(tmp_path: Path) -> None:
    rows = {**rows_of(1), "x": np.array([{"a": 1}], object)}
    with pytest.raises(ValueError, match=r"^`x` must hold numbers or strings, got dtype object$"):
        SaveOutputs("x", path=tmp_path).update(rows)
