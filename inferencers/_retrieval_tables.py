"""The tables behind the metrics of a retrieval: queries, their neighbours, and classes."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from milepost.inferencers._compared_labels import Ints
from milepost.inferencers._evidence import Floats, Over, weighted_class_means
from milepost.inferencers._inferencer import Table
from milepost.inferencers._kept_neighbors import Neighbor
from milepost.inferencers._label_table import Labels
from milepost.inferencers._levels import Level, as_array, beside
from milepost.inferencers._pair_rows import RoleRows
from milepost.inferencers._query_totals import QueryTotals
from milepost.inferencers._query_values import QueryValues


def query_table(
    rows: RoleRows,
    groups: Sequence[Labels],
    levels: Sequence[Level],
    values: Sequence[QueryValues],
    names: Sequence[str],
) -> Table:
    """Return the value of each metric for each query, NaN where it has no relevant row.

    Args:
        rows: the queries.
        groups: the fields that make their groups; none: they are in none.
        levels: of the labels.
        values: of each level.
        names: of the metrics.
    """
    columns = {
        f"{level.prefix}{name}": column
        for level, own in zip(levels, values, strict=True)
        for name, column in zip(names, own.values.T, strict=True)
    }
    about = {"id": rows.ids, "label": as_array(rows.labels)}
    return {**about, **({"group": beside(groups)} if groups else {}), **columns}


def neighbor_table(
    rows: RoleRows,
    codes: Ints,
    labels: Any,
    levels: Sequence[Level],
    near: Neighbor,
    *,
    what: Literal["neighbor", "object"] = "neighbor",
) -> Table:
    """Return a row for each neighbour that was kept.

    Args:
        rows: the queries.
        codes: int64 (Q,), their label codes.
        labels: all labels.
        levels: which are relevant to which.
        near: the neighbours.
        what: the name of the column that tells them: ids of rows, or objects.
    """
    relevant = {
        f"{level.prefix}relevant": level.relevance.of_neighbors(
            codes[near.queries], near.codes[:, None]
        )[:, 0]
        for level in levels
    }
    return {
        "id": rows.ids[near.queries],
        "rank": near.ranks,
        what: near.ids,
        "label": as_array(labels)[near.codes],
        "score": near.scores,
        **relevant,
    }


def class_table(
    levels: Sequence[Level], totals: Sequence[QueryTotals], names: Sequence[str]
) -> Table:
    """Return the means of each class that has queries, level by level."""
    tables = [_classes(level, own, names) for level, own in zip(levels, totals, strict=True)]
    if len(tables) == 1:
        return tables[0]
    if len({table["label"].dtype.kind for table in tables}) > 1:
        tables = [{**table, "label": table["label"].astype(str)} for table in tables]
    prefixes = [level.prefix.removesuffix("/") for level in levels]
    level_of = np.repeat(prefixes, [len(table["label"]) for table in tables])
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    return {"level": level_of, **columns}


def _classes(level: Level, totals: QueryTotals, names: Sequence[str]) -> dict[str, Any]:
    (some,) = np.nonzero(totals.queries.any(axis=1))
    return {
        "label": as_array(level.labels)[some],
        "queries": totals.queries[some, 1],
        "queries_without_relevant": totals.queries[some, 0],
        **dict(zip(names, totals.means()[some].T, strict=True)),
    }


def resampled_class_means(
    table: Table, levels: Sequence[Level], names: Sequence[str], weights: Floats, over: Over
) -> dict[str, Floats]:
    """Return the means over the labels of each level, for each row of weights.

    Args:
        table: what `query_table` gives, of all workers.
        levels: of the labels.
        names: of the metrics.
        weights: shape (B, R), how often each query counts.
        over: what was drawn; the label of a level is drawn as a class if no other level splits it.
    """
    if len(levels) == 1:
        return weighted_class_means(table, weights, over)
    means: dict[str, Floats] = {}
    drawn = len(np.unique(table["label"], axis=0))
    for at, level in enumerate(levels):
        labels = table["label"][:, at]
        columns = {f"{level.prefix}{name}": table[f"{level.prefix}{name}"] for name in names}
        is_whole = over == "class" and len(np.unique(labels)) == drawn
        own_over: Over = "class" if is_whole else "query"
        means |= weighted_class_means({"label": labels, **columns}, weights, own_over)
    return means
