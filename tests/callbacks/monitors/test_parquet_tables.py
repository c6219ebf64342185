from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from milepost._run_tables import read_columns
from milepost.callbacks import Record
from milepost.callbacks.monitors import ParquetTables, default_monitors


def record(step: int | None = 12, **columns: Any) -> Record:
    tables = {"retrieval/queries": {name: np.array(column) for name, column in columns.items()}}
    return Record(runner="validation", scalars={}, step=step, tables=tables)


def test_a_table_lies_under_runner_and_step_and_reads_as_it_was(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "id": ["a", "b"],
        "mrr": [0.5, float("nan")],
        "label": [[1, 2], [3, 4]],
        "wrong": [True, False],
    }
    ParquetTables(tmp_path / "tables").write(record(**columns))
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path == tmp_path / "tables/validation/00000012/retrieval.queries.parquet"
    table = parquet.read_table(path).to_pydict()
    np.testing.assert_equal(table, columns)


def test_files_are_written_byte_by_byte(tmp_path: Path) -> None:
    files = np.array([b"\x89PNG\x00", b"", b"\x00"], dtype=object)
    ParquetTables(tmp_path).write(record(id=[2, 0, 1], picture=files))
    (path,) = tmp_path.rglob("*.parquet")
    assert parquet.read_table(path)["picture"].to_pylist() == files.tolist()
    assert read_columns(path, [0, 2])["picture"].tolist() == [b"\x89PNG\x00", b""]


def test_a_record_without_tables_leaves_nothing(tmp_path: Path) -> None:
    ParquetTables(tmp_path / "tables").write(Record(runner="validation", scalars={}, step=1))
    assert list(tmp_path.iterdir()) == []


def test_the_same_step_is_written_anew_and_others_stay(tmp_path: Path) -> None:
    monitor = ParquetTables(tmp_path)
    monitor.write(record(1, mrr=[1.0]))
    monitor.write(record(2, mrr=[0.5]))
    monitor = ParquetTables(tmp_path)  # of a resumed training
    monitor.write(record(2, mrr=[0.25]))
    found = {path: parquet.read_table(path)["mrr"].to_pylist() for path in tmp_path.rglob("*.*")}
    folder = tmp_path / "validation"
    assert found == {
        folder / "00000001/retrieval.queries.parquet": [1.0],
        folder / "00000002/retrieval.queries.parquet": [0.25],
    }


def test_a_file_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = ParquetTables(tmp_path)
    monitor.write(record(mrr=[1.0]))

    def killed(table: Any, path: Path, **options: Any) -> None:
        path.write_bytes(b"PAR1")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parquet, "write_table", killed)
        with pytest.raises(KeyboardInterrupt):
            monitor.write(record(mrr=[2.0]))
    (path,) = tmp_path.rglob("*.parquet")
    assert parquet.read_table(path)["mrr"].to_pylist() == [1.0]
    monitor.write(record(mrr=[3.0]))
    assert parquet.read_table(path)["mrr"].to_pylist() == [3.0]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [path]


def test_names_that_files_cannot_bear_stay_apart(tmp_path: Path) -> None:
    names = ["a.b/c", "a/b.c", "../a/b", "", "." * 200, "." * 201]
    tables = {name: {"x": np.zeros(1)} for name in names}
    ParquetTables(tmp_path / "in").write(Record(runner="..", scalars={}, step=1, tables=tables))
    assert len(list(tmp_path.rglob("*.parquet"))) == len(names)
    assert list(tmp_path.iterdir()) == [tmp_path / "in"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["%2E%2E"]


def test_it_is_among_the_monitors_of_a_folder(tmp_path: Path) -> None:
    assert ParquetTables in [type(monitor) for monitor in default_monitors(tmp_path)]
    assert not any(monitor.takes_tables for monitor in default_monitors(None))
