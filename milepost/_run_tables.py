"""The tables of evidence in the folder of a run."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from milepost.errors import unknown_name

UNITS = ("queries", "samples")


class RunTable(NamedTuple):
    """A table that has one row a query or sample.

    Attributes:
        step: of the evaluation.
        inferencer: whose evidence it is.
        metrics: the full name of each column that is a metric.
        columns: by name, sorted by id.
    """

    step: int
    inferencer: str
    metrics: dict[str, str]
    columns: dict[str, npt.NDArray[Any]]


@final
class RunTables:
    """Reads what `ParquetTables` wrote of each query.

    Args:
        rundir: the folder of a run.

    Raises:
        FileNotFoundError: it holds no tables.
    """

    def __init__(self, rundir: Path) -> None:
        self._rundir = rundir
        self._files: dict[str, dict[int, list[Path]]] = {}
        for unit in UNITS:
            for path in sorted(rundir.glob(f"tables/*/*/*.{unit}.parquet")):
                steps = self._files.setdefault(str(read_about(path)["runner"]), {})
                steps.setdefault(int(path.parent.name), []).append(path)
        if not self._files:
            msg = (
                f"{str(rundir)!r} holds no tables of queries or samples; `milepost run`, "
                "`milepost eval --rundir` and `evaluate(..., rundir=)` write them"
            )
            raise FileNotFoundError(msg)

    @property
    def runners(self) -> list[str]:
        """The runners that left tables."""
        return sorted(self._files)

    def read(self, runner: str, step: int | None = None) -> dict[str, RunTable]:
        """Return a runner's tables, by inferencer and name.

        Args:
            runner: its name.
            step: of the evaluation; None for the last.

        Raises:
            UnknownNameError: there is no such runner, or no such step.
        """
        if runner not in self._files:
            where = f"runner in {str(self._rundir)!r}:"
            raise unknown_name(where, runner, self._files)
        steps = self._files[runner]
        step = max(steps) if step is None else step
        if step not in steps:
            where = f"step of {runner!r} in {str(self._rundir)!r}:"
            raise unknown_name(where, str(step), map(str, steps))
        return {path.name.removesuffix(".parquet"): _read(path, step) for path in steps[step]}


def read_about(path: Path) -> dict[str, Any]:
    """Return what a table that `ParquetTables` wrote says of itself."""
    from pyarrow import parquet

    metadata = parquet.read_schema(path).metadata or {}
    if b"milepost" not in metadata:
        msg = f"{path} was not written by Milepost"
        raise ValueError(msg)
    about: dict[str, Any] = json.loads(metadata[b"milepost"])
    return about


def _read(path: Path, step: int) -> RunTable:
    about, columns = read_about(path), read_columns(path)
    order = np.argsort(columns["id"], kind="stable")
    ordered = {name: column[order] for name, column in columns.items()}
    return RunTable(step, about["inferencer"], about["metrics"], ordered)


def read_columns(path: Path, ids: Collection[Any] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of a table that `ParquetTables` wrote.

    Args:
        path: its file.
        ids: of the rows to read; None for all.
    """
    from pyarrow import compute, parquet

    chosen = None if ids is None else compute.field("id").isin(list(ids))
    table = parquet.read_table(path, filters=chosen)
    return {name: _array(table[name]) for name in table.column_names}


def _array(column: Any) -> npt.NDArray[Any]:
    """Return a column as it was before it was written."""
    from pyarrow import types

    plain = not (types.is_string(column.type) or types.is_nested(column.type))
    return np.asarray(column.to_numpy() if plain else column.to_pylist())
