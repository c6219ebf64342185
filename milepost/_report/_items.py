"""Pictures and texts of the rows that a page shows."""

import base64
import struct
from collections.abc import Iterable
from typing import Any, NamedTuple, final

from milepost._report._run_files import RunFiles

_TINY = 40  # pixels: smaller pictures show their pixels


class Item(NamedTuple):
    """What a row looks like; each part None where it is not known.

    Attributes:
        picture: the address of a picture, which holds it.
        is_tiny: whether its pixels are to be seen.
        text: a text.
    """

    picture: str | None = None
    is_tiny: bool = False
    text: str | None = None


@final
class Items:
    """The rows of a run that `mp.Items` kept, as far as they are shown.

    Args:
        run: the files of the run.
        runner: whose rows.
        ids: of the rows that are shown, the first first: where there are more pictures than the
            page has room for, later ones are left out.

    Attributes:
        are_kept: whether the run holds any.
        left_out: how many pictures were.
    """

    def __init__(self, run: RunFiles, runner: str, ids: Iterable[Any]) -> None:
        wanted = list(dict.fromkeys(ids))
        rows: dict[tuple[Any, str], dict[str, Any]] = {}
        for table in run.rows(runner, "items", wanted):
            columns = {name: column.tolist() for name, column in table.items()}
            for at, key in enumerate(zip(columns["id"], columns["role"], strict=True)):
                rows.setdefault(key, {}).update({x: y[at] for x, y in columns.items()})
        self.are_kept = bool(rows)
        self.left_out = 0
        evaluations = run.evaluations.get(runner, ())
        has_gallery = any("gallery" in each.coverage for each in evaluations)
        self._near_roles = ("gallery",) if has_gallery else ("gallery", "query")
        self._rows: dict[tuple[Any, str], Item] = {}
        for key in ((each, role) for each in wanted for role in ("query", "gallery")):
            if key in rows:
                item = _item(rows[key])
                size = len(item.picture or "")
                if size > run.picture_room:
                    self.left_out += 1
                    item = Item(text=item.text)
                else:
                    run.picture_room -= size
                self._rows[key] = item

    def query(self, id: Any) -> Item:
        """Return what a query looks like."""
        return self._rows.get((id, "query"), Item())

    def neighbor(self, id: Any) -> Item:
        """Return what a row of the gallery looks like, where queries may be its rows."""
        found = (self._rows.get((id, role)) for role in self._near_roles)
        return next((item for item in found if item is not None), Item())


def _item(row: dict[str, Any]) -> Item:
    """Return what a row looks like."""
    png, text = row.get("picture"), row.get("text")
    if not isinstance(png, bytes) or not png.startswith(b"\x89PNG") or len(png) < 24:
        return Item(text=text)
    width, height = struct.unpack(">II", png[16:24])
    address = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return Item(address, max(width, height) <= _TINY, text)
