"""The queries that went worst."""

from typing import Any, NamedTuple

from milepost._report._items import Item, Items, items_of
from milepost._report._page import fill
from milepost._report._query_tables import (
    Near,
    QueryRuns,
    QueryTables,
    main_metric,
    query_runs,
)
from milepost._report._run_files import RunFiles, Tables
from milepost._report._section import Section

_MOST = 10  # queries of the page
_DRAWN = 6  # queries of a picture


class Tile(NamedTuple):
    """A neighbour to show: its rank from 1, what is known of it, and what it looks like."""

    rank: int
    near: Near
    item: Item


class Card(NamedTuple):
    """A query to show.

    Attributes:
        id: of the query.
        label: None where there is none.
        item: what it looks like.
        value: of the metric.
        tiles: its neighbours, the nearest first.
    """

    id: Any
    label: str | None
    item: Item
    value: float
    tiles: list[Tile]


def worst_queries(run: RunFiles) -> Section | None:
    """Return the queries that went worst, with their neighbours, of each inferencer that ranks."""
    lists = [each for runs in query_runs(run) if (each := _worst(run, runs)) is not None]
    if not lists:
        return None
    return Section("worst-queries", "Worst queries", fill("worst.html", lists=lists))


def card(tables: QueryTables, row: int, items: Items) -> Card:
    """Return a query to show."""
    own = tables.ids[row].item()
    near = enumerate(tables.neighbors_of(row), 1)
    return Card(
        own,
        None if tables.labels is None else tables.labels[row],
        items.query(own),
        float(tables.values[row]),
        [
            Tile(rank, each, Item() if each.is_object else items.neighbor(each.key))
            for rank, each in near
        ],
    )


def shown_ids(tables: QueryTables, rows: list[int]) -> list[Any]:
    """Return the ids of some queries and of their neighbours: what pictures are needed of."""
    ids = []
    for row in rows:
        near = tables.neighbors_of(row)
        ids += [tables.ids[row].item(), *(each.key for each in near if not each.is_object)]
    return ids


def worst_cards(tables: Tables, inferencer: str, items: Items) -> tuple[str, list[Card]] | None:
    """Return the metric of an inferencer that ranks, and the queries of one evaluation to show.

    Args:
        tables: of the evaluation.
        inferencer: whose.
        items: what rows look like.

    Returns:
        None if it does not rank, or no query could have gone better.
    """
    queries, near = (tables.get(f"{inferencer}/{name}") for name in ("queries", "neighbors"))
    metric = None if queries is None or near is None else main_metric(queries)
    if queries is None or metric is None:
        return None
    found = QueryTables(metric, queries, near)
    cards = [card(found, row, items) for row in found.worst(_DRAWN).tolist()]
    return (metric, cards) if cards else None


def _worst(run: RunFiles, runs: QueryRuns) -> dict[str, Any] | None:
    """Return what the template shows of one inferencer."""
    tables = runs.read(runs.best_step)
    if tables is None:
        return None
    rows = tables.worst(_MOST).tolist()
    items = items_of(run, runs.runner, shown_ids(tables, rows))
    return {
        "runs": runs,
        "at": runs.evaluations[runs.best_step],
        "cards": [card(tables, row, items) for row in rows],
        "items": items,
    }
