"""Evidence of all workers, joined on the chief."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from milepost.callbacks import World
from milepost.inferencers import NO_METRICS, Inferencer, Rows
from milepost.runners._rounds import BLOCK_BYTES, blocks
from milepost.runners._together import agree

Columns = dict[str, npt.NDArray[Any]]
Tables = dict[str, Columns]


def gather_tables(inferencer: Inferencer, world: World) -> Tables:
    """Return an inferencer's evidence of all workers, on the chief; nothing on the others.

    A table with a column `id` holds the rows of all, sorted by it, and by `role` where there is
    such a column; of another the chief's is taken.
    Every rank calls it. Memory: on the chief twice what is joined, on the others blocks of 64 MiB.
    """

    def prepare() -> tuple[Tables, dict[str, list[Rows]]]:
        own = _checked(inferencer)
        sent = {} if world.is_chief else {name: t for name, t in own.items() if "id" in t}
        return own, {name: blocks(table, BLOCK_BYTES) for name, table in sent.items()}

    own, mine = agree(world, prepare)
    parts: dict[str, list[Rows]] = {name: [table] for name, table in own.items()}
    plans = world.gather({name: len(each) for name, each in mine.items()})
    for owner, name in ((rank, name) for rank, plan in enumerate(plans) for name in plan):
        for number in range(plans[owner][name]):
            part = world.share(mine[name][number] if owner == world.rank else None, owner)
            if world.is_chief:
                parts.setdefault(name, []).append(part)
    return agree(world, lambda: _joined(inferencer, parts) if world.is_chief else {})


def flat(tables: Mapping[str, Tables]) -> Tables:
    """Return the tables of several inferencers as `"<inferencer>/<table>"`."""
    return {f"{owner}/{name}": x for owner, each in tables.items() for name, x in each.items()}


def metric_columns(
    tables: Mapping[str, Tables], names: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """Return which columns of each table hold a metric of its inferencer, with its full name.

    Args:
        tables: by inferencer and name.
        names: the full names of the metrics of each inferencer; on the chief.
    """
    return {
        f"{owner}/{name}": {
            column: names[owner][column]
            for column in table
            if column in names[owner] and column not in NO_METRICS
        }
        for owner, each in tables.items()
        for name, table in each.items()
        if owner in names
    }


def _checked(inferencer: Inferencer) -> Tables:
    """Return the evidence of this worker as arrays.

    Raises:
        ValueError: the columns of a table are not of one length.
    """
    tables = {}
    for name, table in inferencer.evidence().items():
        columns = {key: np.asarray(column) for key, column in table.items()}
        lengths = {column.shape[:1] for column in columns.values()}
        if len(lengths) > 1 or () in lengths:
            shapes = ", ".join(f"{key!r} {column.shape}" for key, column in columns.items())
            msg = (
                f"the columns of evidence {name!r} of {inferencer.name!r} must be of one length, "
                f"got shapes {shapes}"
            )
            raise ValueError(msg)
        tables[name] = columns
    return tables


def _joined(inferencer: Inferencer, parts: dict[str, list[Rows]]) -> Tables:
    """Return whole tables of their parts; those of workers without rows do not count."""
    tables = {}
    for name, each in parts.items():
        filled = [part for part in each if len(next(iter(part.values()), ()))] or each[:1]
        if any(part.keys() != filled[0].keys() for part in filled):
            msg = (
                f"evidence {name!r} of {inferencer.name!r} must have the same columns on all ranks"
            )
            raise ValueError(msg)
        columns = {
            key: np.concatenate([part[key] for part in filled]) if filled[1:] else filled[0][key]
            for key in filled[0]
        }
        tables[name] = _sorted(columns)
    return tables


def _sorted(columns: Columns) -> Columns:
    """Return the rows of a table in the order of id and role, if it has such columns."""
    if "id" not in columns:
        return columns
    order = np.lexsort([columns[key] for key in ("role", "id") if key in columns])
    if (order == np.arange(len(order))).all():
        return columns
    return {key: column[order] for key, column in columns.items()}
