"""What a model gives for every row, saved to files."""

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt

from milepost.errors import unknown_name
from milepost.inferencers._column import reject
from milepost.inferencers._fields import as_fields
from milepost.inferencers._inferencer import Inferencer, Rows, State
from milepost.inferencers._saved_files import WRITERS, Format
from milepost.inferencers._saved_rows import Part, Parts

Array = npt.NDArray[Any]
_STEP = "{step}"
_BRACES = re.compile(r"\{\w*\}")


@final
class SaveOutputs(Inferencer):
    """Saves outputs and fields of every row, with ids and roles, in the order of role and id.

    The files do not depend on batch size, order or number of workers. Rows are written as they
    come, each worker's to a hidden part inside `path`; when the run is complete, the chief joins
    the parts and replaces each file at once: one that is there is whole, and a run that fails
    leaves those of the run before. `path` must be a folder that all workers share.

    - `"parquet"`: `outputs.parquet`; arrays with more axes become lists, whose shape is the field's
      metadata `shape`;
    - `"npy"`: a file a column, `id.npy`, `role.npy`, `output.npy` ...; a slash in a name is `%2F`;
    - `"projector"`: `tensors.tsv`, `metadata.tsv` and `projector_config.pbtxt`, which TensorBoard's
      projector reads in its folder of logs: the first name is the embedding, others are its labels.

    The metric `rows_saved` counts the rows. An empty run saves nothing.

    Memory: a block of about 32 MiB, a few numbers a row, and the strings.

    Args:
        names: a field or output of numbers or strings, shape (N, ...), or a sequence of them.
        *more: further ones.
        path: the folder; it is made if it is not there. Other files in it stay. `{step}` in it
            stands for the steps of the training that are completed, in eight digits, so that each
            run has a folder of its own; without it a run replaces the files of the run before.
        format: as above.
        dtype: for floating-point numbers: `"float16"`, `"bfloat16"` (rounded to nearest, and saved
            as the uint16 of its bits, which `(bits.astype("u4") << 16).view("f4")` reads), or
            None, as they are.
        name: prefixes the metric where two inferencers would log the same name.

    Raises:
        ValueError: a name that is given twice, a path with other braces, or a dtype for the
            projector. In a run: a value that is not a number or a string, one beyond float16, or
            another shape than before.
        UnknownNameError: the format or the dtype does not exist.

    Example:
        >>> save = SaveOutputs("output", path="saved", format="npy", dtype="float16")
        >>> roles = np.array(["query"] * 2)
        >>> save.update({"id": np.array([1, 0]), "role": roles, "output": np.array([0.5, 0.25])})
        >>> save.compute()
        {'rows_saved': 2}
        >>> np.load("saved/output.npy")
        array([0.25, 0.5 ], dtype=float16)
    """

    roles: tuple[str, ...] = ("query", "gallery")

    def __init__(
        self,
        names: str | Sequence[str] = "output",
        *more: str,
        path: str | os.PathLike[str],
        format: Format = "parquet",
        dtype: Literal["float16", "bfloat16"] | None = None,
        name: str = "save_outputs",
    ) -> None:
        self.fetches = as_fields("names", names, more)
        if {"id", "role"} & set(self.fetches):
            msg = f"`names` must be others than 'id' and 'role', got {self.fetches}"
            raise ValueError(msg)
        if format not in WRITERS:
            raise unknown_name("format", format, WRITERS)
        if dtype not in (None, "float16", "bfloat16"):
            raise unknown_name("dtype", dtype, ("float16", "bfloat16"))
        if dtype and format == "projector":
            msg = f"`dtype` must be None for the projector, which reads text, got {dtype!r}"
            raise ValueError(msg)
        self.name = name
        if set(_BRACES.findall(str(path))) - {_STEP}:
            msg = f"`path` may hold {_STEP!r} and no other braces, got {str(path)!r}"
            raise ValueError(msg)
        self._pattern, self._format, self._dtype = str(path), format, dtype
        self._own: list[Path] = []  # the parts of this worker
        weakref.finalize(self, _remove, self._own)  # those of a run that failed
        self.reset()

    def reset(self) -> None:
        _remove(self._own)
        self._path = Path(self._pattern.replace(_STEP, f"{self.step:08}"))
        self._part: Part | None = None
        self._folders: list[Path] = []
        self._rows = 0

    def update(self, rows: Rows) -> None:
        if not len(rows["id"]):
            return
        columns = {name: np.asarray(rows[name]) for name in ("role", "id")}
        columns |= {name: self._converted(rows, name) for name in self.fetches}
        if self._part is None:
            self._part = self._new_part()
        self._part.add(columns)
        self._rows += len(columns["id"])

    def state(self) -> State:
        if self._part is not None:
            self._part.close()
            self._part = None
        return {"folders": [str(folder) for folder in self._folders], "rows": self._rows}

    def merge(self, states: Sequence[State]) -> None:
        for state in states:
            self._folders += map(Path, state["folders"])
            self._rows += state["rows"]

    def compute(self) -> Mapping[str, float] | None:
        if not self._rows:
            return None
        self.state()
        if self._folders and self._folders[0].exists():  # else they are joined
            self._join()
        return {"rows_saved": self._rows}

    def _new_part(self) -> Part:
        self._path.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".part-", dir=self._path))
        self._folders.append(folder)
        self._own.append(folder)
        return Part(folder)

    def _join(self) -> None:
        """Write the files, and remove the parts."""
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self._path) as new:
            WRITERS[self._format](Parts(self._folders), Path(new))
            for file in sorted(Path(new).iterdir()):
                _sync(file)
                file.replace(self._path / file.name)
        _remove(self._folders)

    def _converted(self, rows: Rows, name: str) -> Array:
        array = np.asarray(rows[name])
        if array.dtype.kind == "O":
            array = np.array(array.tolist())
        if array.dtype.kind not in "biufU":
            msg = f"`{name}` must hold numbers or strings, got dtype {array.dtype}"
            raise ValueError(msg)
        if self._dtype is None or array.dtype.kind != "f":
            return array
        if self._dtype == "bfloat16":
            return bfloat16_bits(array)
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        beyond = (np.isinf(half) & np.isfinite(array)).reshape(len(array), -1)
        largest = abs(array.reshape(len(array), -1)).max(axis=1, initial=0.0)
        rule = "must be at most 65504 in size for float16 (bfloat16 holds more)"
        reject(rows, name, largest, beyond.any(axis=1), rule)
        return half


def bfloat16_bits(array: Array) -> npt.NDArray[np.uint16]:
    """Return numbers rounded to the nearest bfloat16, of equally near ones the even, as its bits.

    Example:
        >>> (bfloat16_bits(np.array([1.0, 3.14159])).astype(np.uint32) << 16).view(np.float32)
        array([1.      , 3.140625], dtype=float32)
    """
    with np.errstate(over="ignore"):
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(array), 0x7FC0, rounded).astype(np.uint16)


def _remove(folders: list[Path]) -> None:
    """Remove folders that may be gone already; the list is emptied."""
    while folders:
        shutil.rmtree(folders.pop(), ignore_errors=True)


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
