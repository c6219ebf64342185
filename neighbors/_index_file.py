"""The file in which an index is saved, of whatever kind.

```
64 bytes         b"MILEPOST", the format version (uint32, little endian), zeros
sections         the vectors first; arrays in NumPy's own format
header           JSON: kind, dimension, metric, count, ...; where each section lies
8 bytes          the length of the header (uint64, little endian)
32 bytes         BLAKE2b of everything before
```

A file is read to its end and compared with its checksum before anything in it is believed; nothing
is unpickled. Reading and writing take the memory of one block.
"""

import contextlib
import hashlib
import io
import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from milepost.errors import IndexFileError

VERSION = 1
_MAGIC = b"MILEPOST"
_PRELUDE = struct.Struct("<8sI52x")
_LENGTH = struct.Struct("<Q")
_DIGEST_BYTES = 32
_BLOCK_BYTES = 1 << 20

Write: TypeAlias = Callable[[Any], Any]
"""Takes bytes, or anything that shows its memory as bytes."""


@dataclass(frozen=True)
class IndexDetails:
    """What is saved with an index, so that it can be trusted later.

    Attributes:
        ids: shape (N,), the samples' ids, numbers or strings; None: their positions.
        labels: shape (N, ...), numbers or strings; None: there are none.
        label_sums: float64 (C, d), the sum of the vectors of each distinct label, in their order.
        normalized: whether the embeddings had been scaled to length 1; None: not known.
        model: the fingerprint of the weights that made the embeddings; None: not known.
    """

    ids: npt.NDArray[Any] | None = None
    labels: npt.NDArray[Any] | None = None
    label_sums: npt.NDArray[np.float64] | None = None
    normalized: bool | None = None
    model: str | None = None

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays that there are, by name."""
        arrays = {"ids": self.ids, "labels": self.labels, "label_sums": self.label_sums}
        return {name: np.asarray(x) for name, x in arrays.items() if x is not None}


@dataclass(frozen=True)
class IndexFile:
    """A file whose checksum agreed.

    Attributes:
        path: where it is.
        header: what it says of itself.
    """

    path: Path
    header: Mapping[str, Any]

    def place(self, section: str) -> tuple[int, int]:
        """Return where a section starts, and its length in bytes."""
        start, length = self.header["sections"][section]
        return start, length

    def array(self, section: str) -> npt.NDArray[Any] | None:
        """Return a section that holds an array; None if there is no such section."""
        if section not in self.header["sections"]:
            return None
        start, length = self.place(section)
        with self.path.open("rb") as file:
            file.seek(start)
            array: npt.NDArray[Any] = np.lib.format.read_array(
                io.BytesIO(file.read(length)), allow_pickle=False
            )
        return array

    def details(self) -> IndexDetails:
        """Return what was saved with the index."""
        return IndexDetails(
            ids=self.array("ids"),
            labels=self.array("labels"),
            label_sums=self.array("label_sums"),
            normalized=self.header["normalized"],
            model=self.header["model"],
        )


def write_index(
    path: Path,
    header: Mapping[str, Any],
    write_vectors: Callable[[Write], None],
    arrays: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Write an index; `path` holds the old file or the new one, whole.

    Args:
        path: the file; its folder is there.
        header: what the file says of itself; JSON.
        write_vectors: writes the vectors, a piece at a time.
        arrays: the other sections.

    Raises:
        ValueError: an array holds Python objects.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            _write(_Hashed(file), header, write_vectors, arrays)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def read_index(path: Path) -> IndexFile:
    """Return a saved index when its checksum agrees.

    Raises:
        IndexFileError: it is not an index, is damaged, or is of a future version.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        _check_prelude(path, file.read(_PRELUDE.size))
        file.seek(0)
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for start in range(0, length - _DIGEST_BYTES, _BLOCK_BYTES):
            digest.update(file.read(min(_BLOCK_BYTES, length - _DIGEST_BYTES - start)))
        if length < _PRELUDE.size + _DIGEST_BYTES or file.read() != digest.digest():
            msg = f"{path} is damaged or cut short: its checksum does not agree; build it again"
            raise IndexFileError(msg)
        end = file.seek(-_LENGTH.size - _DIGEST_BYTES, os.SEEK_END)
        (header_length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        file.seek(end - header_length)
        return IndexFile(path, json.loads(file.read(header_length)))


def _check_prelude(path: Path, prelude: bytes) -> None:
    if len(prelude) < _PRELUDE.size:
        msg = f"{path} is damaged or cut short: it has {len(prelude)} bytes; build it again"
        raise IndexFileError(msg)
    magic, version = _PRELUDE.unpack(prelude)
    if magic != _MAGIC:
        msg = f"{path} is not an index that Milepost saved: it begins with {magic!r}"
        raise IndexFileError(msg)
    if version > VERSION:
        msg = (
            f"{path} is of format version {version}, but this Milepost reads versions up to "
            f"{VERSION}; install a newer one"
        )
        raise IndexFileError(msg)


class _Hashed:
    """Writes to a file and keeps the checksum of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self.length = 0

    def write(self, data: Any) -> None:
        block = memoryview(data).cast("B")
        self._file.write(block)
        self._digest.update(block)
        self.length += len(block)

    def finish(self) -> None:
        self._file.write(self._digest.digest())


def _write(
    file: _Hashed,
    header: Mapping[str, Any],
    write_vectors: Callable[[Write], None],
    arrays: Mapping[str, npt.NDArray[Any]],
) -> None:
    file.write(_PRELUDE.pack(_MAGIC, VERSION))
    write_vectors(file.write)
    sections = {"vectors": (_PRELUDE.size, file.length - _PRELUDE.size)}
    for name, array in arrays.items():
        start = file.length
        np.lib.format.write_array(file, array, allow_pickle=False)
        sections[name] = (start, file.length - start)
    text = json.dumps({**header, "sections": sections}).encode()
    file.write(text)
    file.write(_LENGTH.pack(len(text)))
    file.finish()
