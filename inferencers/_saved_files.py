"""The files in which outputs are saved: Parquet, NumPy's, and those of TensorBoard's projector."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from milepost.inferencers._saved_rows import Array, Column, Parts

Format: TypeAlias = Literal["parquet", "npy", "projector"]


def write_parquet(parts: Parts, folder: Path) -> None:
    """Write `outputs.parquet`: a column of numbers or strings, or of lists of one length."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([_field(column, pa) for column in parts.columns])
    with parquet.ParquetWriter(folder / "outputs.parquet", schema) as writer:
        for block in parts.blocks():
            arrays = [_arrow(block[field.name], field.type, pa) for field in schema]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def write_npy(parts: Parts, folder: Path) -> None:
    """Write one `.npy` file a column, of shape (rows, ...)."""
    files = {
        column.name: np.lib.format.open_memmap(
            folder / f"{column.name.replace('/', '%2F')}.npy",
            mode="w+",
            dtype=column.dtype,
            shape=(len(parts), *column.shape),
        )
        for column in parts.columns
    }
    start = 0
    for block in parts.blocks():
        stop = start + len(block["id"])
        for name, rows in block.items():
            files[name][start:stop] = rows
        start = stop
    for file in files.values():
        file.flush()


def write_projector(parts: Parts, folder: Path) -> None:
    """Write `tensors.tsv`, the first column, `metadata.tsv`, the others, and their configuration.

    Raises:
        ValueError: the first column is not a matrix, or another one is.
    """
    first, *others = (column for column in parts.columns if column.name not in ("role", "id"))
    for column, axes in [(first, 1), *((column, 0) for column in others)]:
        if len(column.shape) != axes:
            rule = "one vector" if axes else "one value"
            msg = f"`{column.name}` must be {rule} a row for the projector, got {column.shape}"
            raise ValueError(msg)
    names = ["id", "role", *(column.name for column in others)]
    tensors, metadata = folder / "tensors.tsv", folder / "metadata.tsv"
    with tensors.open("w", encoding="utf-8") as vectors, metadata.open("w", encoding="utf-8") as of:
        of.write("\t".join(names) + "\n")
        for block in parts.blocks():
            np.savetxt(vectors, block[first.name], fmt="%.9g", delimiter="\t")
            for row in zip(*(block[name].tolist() for name in names), strict=True):
                of.write("\t".join(" ".join(str(value).split()) for value in row) + "\n")
    (folder / "projector_config.pbtxt").write_text(
        f'embeddings {{\n  tensor_name: "{first.name}"\n  tensor_path: "tensors.tsv"\n'
        '  metadata_path: "metadata.tsv"\n}\n'
    )


WRITERS: Mapping[Format, Callable[[Parts, Path], None]] = {
    "parquet": write_parquet,
    "npy": write_npy,
    "projector": write_projector,
}


def _field(column: Column, pa: Any) -> Any:
    kind = pa.string() if column.dtype.kind == "U" else pa.from_numpy_dtype(column.dtype)
    if not column.shape:
        return pa.field(column.name, kind, nullable=False)
    shape = ",".join(map(str, column.shape))
    lists = pa.list_(kind, int(np.prod(column.shape)))
    return pa.field(column.name, lists, nullable=False, metadata={"shape": shape})


def _arrow(rows: Array, kind: Any, pa: Any) -> Any:
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(rows, kind)
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1), kind.value_type), type=kind)
