"""Large tables, made small."""

import numpy as np

from milepost.callbacks._record import Array, Table


def thinned(table: Table, max_rows: int) -> dict[str, Array]:
    """Return a table of at most so many rows, evenly spaced.

    Rows of one id stay together, so that a query has all of its neighbours or none; of a table
    without a column `id` the last row is kept too. If one id has more rows than may be kept, its
    first are.

    Args:
        table: columns of equal length.
        max_rows: at least 1.

    Example:
        >>> thinned({"id": np.repeat(np.arange(100), 2), "x": np.arange(200)}, 4)
        {'id': array([ 0,  0, 50, 50]), 'x': array([  0,   1, 100, 101])}
    """
    columns = {name: np.asarray(column) for name, column in table.items()}
    rows = len(next(iter(columns.values()), ()))
    if rows <= max_rows:
        return columns
    if "id" in columns:
        kept = _rows_of_ids(columns["id"], max_rows)
    else:
        kept = np.linspace(0, rows - 1, max_rows).astype(int)
    return {name: column[kept] for name, column in columns.items()}


def _rows_of_ids(ids: Array, max_rows: int) -> Array:
    """Return the rows of ids that are evenly spaced among those there are."""
    _, first, numbers = np.unique(ids, return_index=True, return_inverse=True)
    count = max(1, max_rows * len(first) // len(ids))
    spacing = -(-len(first) // count)
    place = np.empty(len(first), int)
    place[np.argsort(first)] = np.arange(len(first))  # ids in the order in which they come
    return np.flatnonzero(place[numbers] % spacing == 0)[:max_rows]
