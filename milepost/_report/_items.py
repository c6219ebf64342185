"""Pictures and texts of the rows that are shown."""

import base64
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, final

from milepost._report._run_files import Columns, RunFiles

Key = tuple[Any, str]
"""An id, and the role that its row plays."""

_TINY = 40  # pixels: smaller pictures show their pixels


class Item(NamedTuple):
    """What a row looks like; each part None where it is not known.

    Attributes:
        png: a picture, as a file.
        text: a text.
    """

    png: bytes | None = None
    text: str | None = None

    @property
    def picture(self) -> str | None:
        """The address of the picture, which holds it."""
        if self.png is None:
            return None
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"

    @property
    def is_tiny(self) -> bool:
        """Whether the pixels of the picture are to be seen."""
        return self.png is not None and max(struct.unpack(">II", self.png[16:24])) <= _TINY


@final
class Items:
    """The rows that `mp.Items` kept, as far as they are shown.

    Args:
        rows: what they look like.
        has_gallery: whether neighbours are rows of a gallery; else they are queries.
        left_out: how many pictures have no room.

    Attributes:
        are_kept: whether there are any.
        left_out: as given.
    """

    def __init__(
        self, rows: Mapping[Key, Item], *, has_gallery: bool = False, left_out: int = 0
    ) -> None:
        self._rows = rows
        self._near_roles = ("gallery",) if has_gallery else ("gallery", "query")
        self.are_kept = bool(rows)
        self.left_out = left_out

    def query(self, id: Any) -> Item:
        """Return what a query looks like."""
        return self._rows.get((id, "query"), Item())

    def neighbor(self, id: Any) -> Item:
        """Return what a row of the gallery looks like, where queries may be its rows."""
        found = (self._rows.get((id, role)) for role in self._near_roles)
        return next((item for item in found if item is not None), Item())


def items_of(run: RunFiles, runner: str, ids: Iterable[Any]) -> Items:
    """Return rows of a run, for its page.

    Args:
        run: the files of the run.
        runner: whose rows.
        ids: of the rows that are shown, the first first: where there are more pictures than the
            page has room for, later ones are left out.
    """
    wanted = list(dict.fromkeys(ids))
    rows: dict[Key, Item] = {}
    for table in run.rows(runner, "items", wanted):
        for key, item in rows_of(table):
            rows[key] = joined(rows.get(key), item)
    left_out = 0
    for key in ((each, role) for each in wanted for role in ("query", "gallery")):
        size = len(rows[key].picture or "") if key in rows else 0
        if size > run.picture_room:
            left_out += 1
            rows[key] = Item(text=rows[key].text)
        else:
            run.picture_room -= size
    has_gallery = any("gallery" in each.coverage for each in run.evaluations.get(runner, ()))
    return Items(rows, has_gallery=has_gallery, left_out=left_out)


def rows_of(table: Columns) -> Iterator[tuple[Key, Item]]:
    """Give the rows of a table `items`."""
    columns = {name: column.tolist() for name, column in table.items()}
    nothing = [None] * len(columns["id"])
    parts = (columns.get(name, nothing) for name in ("picture", "text"))
    for own, role, png, text in zip(columns["id"], columns["role"], *parts, strict=True):
        yield (own, role), Item(png if _is_png(png) else None, text)


def joined(earlier: Item | None, later: Item) -> Item:
    """Return what two tables tell of a row."""
    if earlier is None:
        return later
    return Item(later.png or earlier.png, earlier.text if later.text is None else later.text)


def _is_png(file: Any) -> bool:
    return isinstance(file, bytes) and file.startswith(b"\x89PNG") and len(file) >= 24
