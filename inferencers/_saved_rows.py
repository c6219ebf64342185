"""Rows on their way to a file: written to parts as they come, read again in the order of ids."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

_BLOCK_BYTES = 1 << 25
_KEYS = ("role", "id")


class Part:
    """A folder of columns of one worker, to which rows are appended.

    Numbers go to a file as they come; strings stay in memory until the part is closed.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kinds: dict[str, tuple[str, tuple[int, ...]]] = {}  # dtype, shape of a row
        self._strings: dict[str, list[Array]] = {}
        self._rows = 0

    def add(self, columns: Mapping[str, Array]) -> None:
        """Append rows.

        Raises:
            ValueError: a column has another type or shape than before.
        """
        for name, column in columns.items():
            self._check(name, column)
        for at, (name, column) in enumerate(columns.items()):
            if column.dtype.kind == "U":
                self._strings.setdefault(name, []).append(column.copy())
            else:
                with (self._folder / f"{at}.bin").open("ab") as file:
                    file.write(np.ascontiguousarray(column).data)
        self._rows += len(columns["id"])

    def close(self) -> None:
        """Write what is left, so that `Parts` can read the folder."""
        for at, name in enumerate(self._kinds):
            if name in self._strings:
                np.save(self._folder / f"{at}.npy", np.concatenate(self._strings[name]))
        described = {"rows": self._rows, "columns": self._kinds}
        (self._folder / "part.json").write_text(json.dumps(described))

    def _check(self, name: str, column: Array) -> None:
        dtype = "<U" if column.dtype.kind == "U" else column.dtype.str
        kind = dtype, column.shape[1:]
        if self._kinds.setdefault(name, kind) != kind:
            before = self._kinds[name]
            msg = (
                f"`{name}` must keep its type and the shape of its rows, got {kind[0]} {kind[1]} "
                f"after {before[0]} {before[1]}"
            )
            raise ValueError(msg)


@dataclass(frozen=True)
class Column:
    """One column of all parts.

    Attributes:
        name: its name.
        dtype: of what is written; for strings, the widest there are.
        shape: of one row.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Parts:
    """The rows of several parts, in the order of role and id.

    Memory: a few numbers a row, the strings, and a block of about 32 MiB.

    Args:
        folders: those of parts that are closed, with the same columns.

    Attributes:
        columns: the columns, `"role"` and `"id"` among them.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        parts = [_opened(folder) for folder in folders]
        parts = [part for part in parts if len(part["id"])]
        self.columns = [_column(name, [part[name] for part in parts]) for name in parts[0]]
        self._parts = parts
        keys = {name: np.concatenate([part[name] for part in parts]) for name in _KEYS}
        self._order = np.lexsort((keys["id"], keys["role"]))
        sizes = [len(part["id"]) for part in parts]
        self._part_of = np.repeat(np.arange(len(parts)), sizes)
        self._position = np.concatenate([np.arange(size) for size in sizes])

    def __len__(self) -> int:
        return len(self._order)

    def blocks(self) -> Iterator[dict[str, Array]]:
        """Give the rows, a block of columns at a time."""
        row_bytes = sum(x.dtype.itemsize * int(np.prod(x.shape)) for x in self.columns)
        step = max(1, _BLOCK_BYTES // row_bytes)
        for start in range(0, len(self), step):
            rows = self._order[start : start + step]
            yield {column.name: self._read(column, rows) for column in self.columns}

    def _read(self, column: Column, rows: Ints) -> Array:
        result = np.empty((len(rows), *column.shape), column.dtype)
        owner, position = self._part_of[rows], self._position[rows]
        for at in np.unique(owner):
            own = owner == at
            result[own] = self._parts[at][column.name][position[own]]
        return result


def _opened(folder: Path) -> dict[str, Array]:
    described = json.loads((folder / "part.json").read_text())
    columns: dict[str, Array] = {}
    for at, (name, (dtype, shape)) in enumerate(described["columns"].items()):
        file, whole = folder / f"{at}.bin", (described["rows"], *shape)
        if dtype == "<U":
            columns[name] = np.load(folder / f"{at}.npy")
        elif np.prod(whole):
            columns[name] = np.memmap(file, dtype, "r", shape=whole)
        else:
            columns[name] = np.zeros(whole, dtype)
    return columns


def _column(name: str, parts: Sequence[Array]) -> Column:
    kinds = {(part.dtype.kind, part.shape[1:]) for part in parts}
    if len(kinds) > 1:
        found = " and ".join(sorted(f"{part.dtype} {part.shape[1:]}" for part in parts))
        msg = f"`{name}` must have one type and shape on all workers, got {found}"
        raise ValueError(msg)
    return Column(name, np.result_type(*parts), parts[0].shape[1:])
