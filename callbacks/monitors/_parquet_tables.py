"""The tables of records as Parquet files."""

import hashlib
import json
from pathlib import Path
from typing import Any, final
from urllib.parse import quote

import numpy as np

from milepost.callbacks._record import Record, Table
from milepost.callbacks.monitors._monitor import Monitor

_LONGEST = 80  # characters of a name of a file


@final
class ParquetTables(Monitor):
    """Writes each table of evidence to a Parquet file, which pandas, polars and others read.

    A table lies in `<folder>/<runner>/<step, 8 digits>/<inferencer>.<table>.parquet`. A file is
    there whole or not at all, also after a killed training; one of the same step that a resumed
    training writes anew takes its place. What names of files cannot hold is written as `%` and
    its number. A column of two axes becomes a list a row, one of objects holds `bytes`. The
    schema's metadata hold, under `milepost`, a JSON object: `runner`, `step`, `epoch`,
    `inferencer`, `table`, `metrics`: the columns that are metrics, with their full names, and
    `scalars`: all that was logged.

    Args:
        folder: is made in `open`, or at the first table.
    """

    takes_tables = True

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def open(self) -> None:
        """Make the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, record: Record) -> None:
        """Write the tables, if there are any."""
        if not record.tables:
            return
        from pyarrow import parquet

        folder = self.folder / file_name(record.runner or "train") / f"{record.step or 0:08}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in record.tables.items():
            owner, _, own_name = name.rpartition("/")
            path = folder / f"{file_name(owner)}.{file_name(own_name)}.parquet"
            part = path.with_name(f"{path.name}.part")
            arrow = _arrow_table(table).replace_schema_metadata(_metadata(record, name))
            parquet.write_table(arrow, part, compression="zstd")
            part.replace(path)

    def __repr__(self) -> str:
        return f"ParquetTables({str(self.folder)!r})"


def file_name(name: str) -> str:
    """Return a name for a file or folder that stands for any name, and holds no dot.

    Example:
        >>> file_name("hit rate@1"), file_name("a/b.c")
        ('hit rate@1', 'a%2Fb%2Ec')
    """
    quoted = quote(name.encode("utf-8", "replace"), safe=" @=,+()").replace(".", "%2E")
    if len(quoted) > _LONGEST:
        digest = hashlib.sha256(quoted.encode()).hexdigest()[:8]
        quoted = f"{quoted[: _LONGEST - 9]}~{digest}"
    return quoted or "%"


def _metadata(record: Record, name: str) -> dict[str, str]:
    """Return what a file says of itself."""
    owner, _, table = name.rpartition("/")
    metrics = dict(record.columns.get(name, {}))
    place = {"runner": record.runner, "step": record.step, "epoch": record.epoch}
    logged = {"metrics": metrics, "scalars": dict(record.scalars)}
    about = {**place, "inferencer": owner, "table": table, **logged}
    return {"milepost": json.dumps(about)}


def _arrow_table(table: Table) -> Any:
    import pyarrow

    columns = {_text(name): _arrow_array(np.asarray(column)) for name, column in table.items()}
    return pyarrow.table(columns)


def _arrow_array(array: np.ndarray[Any, Any]) -> Any:
    import pyarrow

    if array.ndim == 2:
        flat = _arrow_array(array.reshape(-1))
        return pyarrow.FixedSizeListArray.from_arrays(flat, array.shape[1])
    if array.dtype.kind == "U":
        return pyarrow.array([_text(text) for text in array.tolist()], pyarrow.string())
    if array.dtype.kind == "O":
        return pyarrow.array(array.tolist(), pyarrow.binary())
    return pyarrow.array(array)


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
