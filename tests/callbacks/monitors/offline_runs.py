"""Reads the file that Weights & Biases keeps of a run without a network."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 32768  # bytes; no chunk crosses one
_WHOLE, _LAST = 1, 4


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the histories of all runs in a folder, oldest first."""
    records = read_records(folder, "history")
    return [
        {"/".join(x.nested_key) or x.key: json.loads(x.value_json) for x in record.item}
        for record in records
    ]


def read_records(folder: Path, kind: str) -> list[Any]:
    """Return the records of one kind, of runs that are finished."""
    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    records = [record for file in files for record in _finished(file)]
    return [getattr(x, kind) for x in records if x.WhichOneof("record_type") == kind]


def _finished(file: Path) -> list[Any]:
    """Return all records; the process that writes them is still at it when `finish` returns."""
    import wandb.proto.wandb_internal_pb2 as proto

    read: Any = proto
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        records = [read.Record.FromString(chunk) for chunk in _chunks(file.read_bytes())]
        if any(x.WhichOneof("record_type") == "exit" for x in records):
            return records
        time.sleep(0.005)
    msg = f"{file} has no end"
    raise AssertionError(msg)


def _chunks(data: bytes) -> Iterator[bytes]:
    """Give what a log of LevelDB's form holds, behind the seven bytes that say whose it is."""
    place, parts = 7, b""
    while place + 7 <= len(data):
        if _BLOCK - place % _BLOCK < 7:
            place += _BLOCK - place % _BLOCK
            continue
        _, size, kind = struct.unpack_from("<IHB", data, place)
        if len(data) < place + 7 + size:
            return  # not all of it is written
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (_WHOLE, _LAST):
            yield parts
            parts = b""
