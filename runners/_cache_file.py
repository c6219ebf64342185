"""The files of a cache: the outputs of one batch each, under the key that identifies them.

```
DIR/
  ab/ab12....milepost         the first two digits of a key, and all of it
  new/...                     what an evaluation that goes on has written
```
A file is: `b"MILECACH"`, the version and the length of the header (uint32 and uint64, little
endian); the header, JSON; the arrays, one after the other; BLAKE2b-256 of everything before.
"""

import contextlib
import hashlib
import json
import os
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, final

from milepost.predictors import Packed

VERSION = 1
_PRELUDE = struct.Struct("<8sIQ")
_MAGIC = b"MILECACH"
_DIGEST_BYTES = 32
_SUFFIX = ".milepost"
_ABANDONED_S = 24 * 3600.0  # after so long, nobody goes on to write a file


class Entry(NamedTuple):
    """The outputs of a batch.

    Attributes:
        own: the names of all the model's own outputs.
        arrays: what was asked for, by name.
    """

    own: tuple[str, ...]
    arrays: Mapping[str, Packed]


@final
class CacheFolder:
    """A folder of entries, which any number of processes may share.

    Each file is written aside and takes its place in one step. A file that is damaged, cut short,
    of another version or under another's name is as good as none. Entries that were used least
    recently go first where there is no room; no other file in the folder is touched.

    Args:
        path: the folder; it is made where there is none.
        max_bytes: what the entries may take.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._new = path / "new"
        self._new.mkdir(parents=True, exist_ok=True)

    def read(self, key: str) -> Entry | None:
        """Return an entry, and take note that it was used; None if there is none that is whole."""
        path = self._place(key)
        with contextlib.suppress(OSError):
            entry = _decoded(path.read_bytes(), key)
            if entry is not None:
                os.utime(path)
            return entry
        return None

    def write(self, key: str, entry: Entry) -> Path:
        """Write an entry aside; return where it is."""
        path = self._new / f"{key}.{os.getpid()}.{time.monotonic_ns()}"
        with path.open("wb") as file:
            for piece in _encoded(key, entry):
                file.write(piece)
        return path

    def drop(self, written: Mapping[str, Path]) -> None:
        """Remove entries that were written aside."""
        for path in written.values():
            path.unlink(missing_ok=True)

    def keep(self, written: Mapping[str, Path]) -> None:
        """Give entries that were written aside their places."""
        for key, path in written.items():
            place = self._place(key)
            with contextlib.suppress(FileNotFoundError):  # someone cleared the folder
                place.parent.mkdir(exist_ok=True)
                path.replace(place)

    def room(self, since: float) -> int:
        """Return how many bytes entries may still take, if all go that were used before a time."""
        return self._max_bytes - sum(size for _, size, used in self._entries() if used >= since)

    def shrink(self) -> None:
        """Remove what was used least recently, down to the size that is allowed."""
        entries = sorted(self._entries(), key=lambda entry: entry[2])
        excess = sum(size for _, size, _ in entries) - self._max_bytes
        for path, size, _ in entries:
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size
        for path in self._new.glob("*"):  # none where someone cleared the folder
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()

    def _place(self, key: str) -> Path:
        return self._path / key[:2] / f"{key}{_SUFFIX}"

    def _entries(self) -> Iterator[tuple[Path, int, float]]:
        """Give each entry with its size and the time when it was last used."""
        for path in self._path.glob(f"[0-9a-f][0-9a-f]/*{_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # another process removed it
                status = path.stat()
                yield path, status.st_size, status.st_mtime


def _encoded(key: str, entry: Entry) -> list[bytes | memoryview]:
    """Return an entry as the pieces of a file."""
    described = {
        name: [packed.dtype, packed.shape, packed.strides, packed.data.nbytes]
        for name, packed in entry.arrays.items()
    }
    header = json.dumps({"key": key, "own": entry.own, "arrays": described}).encode()
    pieces: list[bytes | memoryview] = [_PRELUDE.pack(_MAGIC, VERSION, len(header)), header]
    pieces += [packed.data for packed in entry.arrays.values()]
    return [*pieces, _digest(pieces)]


def _decoded(data: bytes, key: str) -> Entry | None:
    """Return the entry that a file holds; None if it is not a whole one under this key."""
    content = memoryview(data)[:-_DIGEST_BYTES]
    if len(content) < _PRELUDE.size or _digest([content]) != data[-_DIGEST_BYTES:]:
        return None
    magic, version, length = _PRELUDE.unpack_from(content)
    if (magic, version) != (_MAGIC, VERSION):
        return None
    start = _PRELUDE.size + length
    header = json.loads(bytes(content[_PRELUDE.size : start]))
    if header["key"] != key:
        return None
    arrays = {}
    for name, (dtype, shape, strides, size) in header["arrays"].items():
        steps = None if strides is None else tuple(strides)
        arrays[name] = Packed(dtype, tuple(shape), steps, content[start : start + size])
        start += size
    return Entry(tuple(header["own"]), arrays)


def _digest(pieces: list[bytes | memoryview]) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
