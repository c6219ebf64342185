"""Which combinations of values the rows of a run have, and how many rows have each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from milepost.inferencers._label_table import Ints, Labels, check_alike


@dataclass(frozen=True)
class KindTable:
    """The different combinations of some columns, in ascending order, and their rows.

    Attributes:
        columns: each of shape (U,) or (U, C).
        counts: int64 (U, 2), of query rows and of gallery rows.
    """

    columns: tuple[Labels, ...]
    counts: Ints

    @classmethod
    def of(cls, queries: Sequence[Labels], gallery: Sequence[Labels]) -> "KindTable":
        """Return the table of the columns of query rows and of gallery rows."""
        tables = [
            cls(tuple(columns), np.tile(np.eye(2, dtype=np.int64)[role], (len(columns[0]), 1)))
            for role, columns in enumerate((queries, gallery))
        ]
        return cls.sum(tables)

    @classmethod
    def sum(cls, tables: Sequence["KindTable"]) -> "KindTable":
        """Return one table of the rows of all."""
        some = [table for table in tables if len(table.counts)]
        if not some:
            return cls(tables[0].columns, np.zeros((0, 2), np.int64))
        columns = joined_columns([table.columns for table in some])
        codes = codes_of(columns)
        _, first = np.unique(codes, return_index=True)
        counts = np.zeros((len(first), 2), np.int64)
        np.add.at(counts, codes, np.concatenate([table.counts for table in some]))
        return cls(tuple(column[first] for column in columns), counts)

    def with_gallery(self, role: str) -> "KindTable":
        """Return the table with the rows of a role, `"query"` or `"gallery"`, as the gallery."""
        return KindTable(self.columns, self.counts[:, [0, int(role == "gallery")]])


def joined_columns(tables: Sequence[Sequence[Labels]]) -> tuple[Labels, ...]:
    """Return the columns of several tables, those of one below those of another."""
    for parts in zip(*tables, strict=True):
        check_alike(parts, "values of one field")
    return tuple(np.concatenate(parts) for parts in zip(*tables, strict=True))


def codes_of(columns: Sequence[Labels]) -> Ints:
    """Return the rank of each row's combination among the different ones, int64 (N,)."""
    codes = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        axis = 0 if column.ndim > 1 else None
        _, inverse = np.unique(column, axis=axis, return_inverse=True)
        own = inverse.reshape(-1)
        _, codes = np.unique(codes * (own.max(initial=0) + 1) + own, return_inverse=True)
    return codes
