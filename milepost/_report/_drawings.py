"""What the tables of one evaluation look like."""

from collections import Counter
from collections.abc import Callable

from matplotlib.figure import Figure

from milepost._report._confusion import draw_confusion
from milepost._report._health import draw_spectrum
from milepost._report._items import Items
from milepost._report._map import draw_map
from milepost._report._montage import draw_worst
from milepost._report._reliability import draw_reliability
from milepost._report._run_files import Columns, Tables
from milepost._report._thresholds import draw_det, draw_roc, draw_scores, points_of
from milepost._report._worst import worst_cards

_POINTS = "operating_points"
_DRAW: dict[str, tuple[str, Callable[[Columns, Columns | None], Figure]]] = {
    "roc": ("roc", lambda table, points: draw_roc(table, points_of(points))),
    "det": ("roc", lambda table, points: draw_det(table, points_of(points))),
    "scores": ("scores", lambda table, points: draw_scores(table, points_of(points))),
    "confusion": ("matrix", lambda table, _: draw_confusion(table)),
    "reliability": ("reliability", lambda table, _: draw_reliability(table)),
    "map": ("map", lambda table, _: draw_map(table)),
    "spectrum": ("spectrum", lambda table, _: draw_spectrum([], [table])),
}
"""By drawing: the table that it is made of, beside the operating points if there are any."""

_NO_ITEMS = Items({})


def drawings(tables: Tables, items: Items = _NO_ITEMS) -> dict[str, Figure]:
    """Return the drawings of an evaluation, as the report has them.

    Args:
        tables: columns as `"<inferencer>/<table>"`.
        items: what the rows look like.

    Returns:
        By name: `"roc"`, or `"<inferencer>/roc"` where several inferencers give one.
    """
    found = {
        (owner, name): draw(table, tables.get(f"{owner}/{_POINTS}"))
        for owner, kind, table in ((*key.rpartition("/")[::2], x) for key, x in tables.items())
        for name, (source, draw) in _DRAW.items()
        if source == kind
    }
    for owner in dict.fromkeys(key.rpartition("/")[0] for key in tables):
        worst = worst_cards(tables, owner, items)
        if worst is not None:
            found[owner, "worst"] = draw_worst(*worst)
    counts = Counter(name for _, name in found)
    return {
        name if counts[name] == 1 else f"{owner}/{name}": figure
        for (owner, name), figure in found.items()
    }
