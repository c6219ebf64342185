"""What the folder of a run holds of each query."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from milepost.errors import unknown_name
from milepost.inferencers import UNITS, Resamples, unit_table

Columns = dict[str, npt.NDArray[Any]]

_RESAMPLES = "resamples"
_READ = (*UNITS, _RESAMPLES)


@final
@dataclass(frozen=True)
class RunEvidence:
    """What an inferencer left of an evaluation.

    Attributes:
        inferencer: its name.
        scalars: all that the runner logged, by full name.
        metrics: the full names of its metrics, by the names of columns.
        columns: one row a query or sample, sorted by id; empty if there are none.
        resamples: of metrics that are no means of a column; None if there are none.
    """

    inferencer: str
    scalars: Mapping[str, float]
    metrics: Mapping[str, str]
    columns: Columns
    resamples: Resamples | None


@final
class RunTables:
    """Reads what `ParquetTables` wrote.

    Args:
        rundir: the folder of a run.

    Raises:
        FileNotFoundError: it holds no tables.
    """

    def __init__(self, rundir: Path) -> None:
        self._rundir = rundir
        self._files: dict[str, dict[int, list[Path]]] = {}
        for folder in sorted(rundir.glob("tables/*/*")):
            if files := sorted(folder.glob("*.parquet")):
                steps = self._files.setdefault(str(read_about(files[0])["runner"]), {})
                steps[int(folder.name)] = files
        if not self._files:
            msg = (
                f"{str(rundir)!r} holds no tables of evidence; `milepost run`, "
                "`milepost eval --rundir` and `evaluate(..., rundir=)` write them"
            )
            raise FileNotFoundError(msg)

    @property
    def runners(self) -> list[str]:
        """The runners that left tables."""
        return sorted(self._files)

    def read(self, runner: str, step: int | None = None) -> dict[str, RunEvidence]:
        """Return what a runner's inferencers left, by their names.

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
        files: dict[str, list[Path]] = {}
        for path in steps[step]:
            files.setdefault(path.name.split(".")[0], []).append(path)
        return {owner: _read(each) for owner, each in files.items()}


def read_about(path: Path) -> dict[str, Any]:
    """Return what a table that `ParquetTables` wrote says of itself."""
    from pyarrow import parquet

    metadata = parquet.read_schema(path).metadata or {}
    if b"milepost" not in metadata:
        msg = f"{path} was not written by Milepost"
        raise ValueError(msg)
    about: dict[str, Any] = json.loads(metadata[b"milepost"])
    return about


def _read(paths: list[Path]) -> RunEvidence:
    """Return what the files of an inferencer hold."""
    metrics: dict[str, str] = {}
    tables: dict[str, Columns] = {}
    for path in paths:
        about = read_about(path)
        if about["table"] in _READ:
            metrics |= about["metrics"]
            tables[about["table"]] = read_columns(path)
    columns = dict(unit_table(tables))
    if columns:
        order = np.argsort(columns["id"], kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
    drawn = tables.get(_RESAMPLES)
    resamples = None if drawn is None else Resamples.of(drawn)
    return RunEvidence(about["inferencer"], about["scalars"], metrics, columns, resamples)


def read_columns(path: Path, ids: Collection[Any] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of a table that `ParquetTables` wrote.

    Args:
        path: its file.
        ids: of the rows to read; None for all.
    """
    from pyarrow import array, compute, parquet, types

    chosen = None
    if ids is not None:
        kind = parquet.read_schema(path).field("id").type
        own = str if types.is_string(kind) else int  # an id of the other kind is none of its rows
        chosen = compute.field("id").isin(array([x for x in ids if isinstance(x, own)], kind))
    table = parquet.read_table(path, filters=chosen)
    return {name: _array(table[name]) for name in table.column_names}


def _array(column: Any) -> npt.NDArray[Any]:
    """Return a column as it was before it was written."""
    from pyarrow import types

    plain = not (types.is_string(column.type) or types.is_nested(column.type))
    return np.asarray(column.to_numpy() if plain else column.to_pylist())
