"""Values of single rows that are kept for evidence."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np

from milepost.inferencers._inferencer import Rows


@final
class KeptRows:
    """Collects columns batch by batch. Memory: what the columns hold."""

    def __init__(self) -> None:
        self._batches: list[dict[str, np.ndarray[Any, Any]]] = []

    def add(self, rows: Rows, columns: Mapping[str, Any]) -> None:
        """Keep a copy of the columns of a batch, with the ids of its rows."""
        columns = {"id": rows["id"], **columns}
        if len(rows["id"]):
            self._batches.append({name: np.array(column) for name, column in columns.items()})

    def tables(self, name: str = "samples") -> dict[str, dict[str, np.ndarray[Any, Any]]]:
        """Return what was kept as a table in the order of ids; none if nothing was."""
        if not self._batches:
            return {}
        joined = {
            key: np.concatenate([batch[key] for batch in self._batches]) for key in self._batches[0]
        }
        order = np.argsort(joined["id"], kind="stable")
        return {name: {key: column[order] for key, column in joined.items()}}
