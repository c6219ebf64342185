"""Pictures and texts of rows, kept for the figures of later evaluations."""

from typing import final

from milepost._report._items import Item, Items, Key, joined, rows_of
from milepost._report._run_files import Tables

_ROW = 300  # bytes of a row besides what it looks like


@final
class RememberedItems:
    """Keeps what `mp.Items` tells once in a training, of runners that rank.

    Args:
        max_bytes: what the rows may take, about. Queries go before the gallery; what has no room
            is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._room = max_bytes
        self._rows: dict[str, dict[Key, Item]] = {}

    def add(self, runner: str, tables: Tables) -> None:
        """Keep the rows of an evaluation, if neighbours are shown of it."""
        kinds = [name.rpartition("/")[2] for name in tables]
        if "neighbors" not in kinds or "items" not in kinds:
            return
        rows = self._rows.setdefault(runner, {})
        new = [
            row
            for table, kind in zip(tables.values(), kinds, strict=True)
            if kind == "items"
            for row in rows_of(table)
        ]
        for key, item in sorted(new, key=lambda row: row[0][1] != "query"):
            earlier = rows.get(key)
            whole = joined(earlier, item)
            growth = _size(whole) - (0 if earlier is None else _size(earlier))
            if growth <= self._room:
                self._room -= growth
                rows[key] = whole

    def of(self, runner: str, *, has_gallery: bool) -> Items:
        """Return the rows of a runner."""
        return Items(self._rows.get(runner, {}), has_gallery=has_gallery)


def _size(item: Item) -> int:
    return _ROW + len(item.png or b"") + 4 * len(item.text or "")
