"""The queries that went worst, with their neighbours, as one picture."""

import io
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from milepost._report._figure import cut, drawn, light, new_axes, plain
from milepost._report._items import Item
from milepost._report._numbers import number
from milepost._report._worst import Card

_NEIGHBORS = 8  # of a query
_SIDE = 84  # of a tile, in pixels of the page, as all lengths here
_STEP = 100  # from a tile to the next
_ROW = 142  # from a query to the next
_LEFT, _TOP = 16, 32
_SPLIT = 18  # between a query and its neighbours
_LETTERS = 14  # in a line of a tile
_LINES = 7  # of a tile


@drawn
def draw_worst(metric: str, cards: Sequence[Card]) -> Figure:
    """Draw queries, one below the other, each with its nearest neighbours from left to right.

    Right and wrong are told by a sign and a word, by a solid and a dashed border, and by colour.

    Args:
        metric: how well a query went.
        cards: the queries, the worst first.
    """
    columns = min(max(len(card.tiles) for card in cards), _NEIGHBORS)
    width = _LEFT + _STEP + _SPLIT + columns * _STEP
    height = _TOP + len(cards) * _ROW
    figure, axes = new_axes(width, height, left=0, right=0, top=0, bottom=0)
    axes.set_axis_off()
    axes.text(_LEFT, 14, f"worst {cut(metric, 30)}, nearest first", va="center", size=11)
    for at, card in enumerate(cards):
        _draw_card(axes, _TOP + at * _ROW, metric, card)
    axes.set(xlim=(0, width), ylim=(height, 0))
    return figure


def _draw_card(axes: Axes, top: int, metric: str, card: Card) -> None:
    about = [f"{cut(metric, 12)} {number(card.value)}"]
    if card.label is not None:
        about.insert(0, f"label {card.label}")
    _draw_tile(axes, _LEFT, top, card.item, card.id, ["query", "ink", "solid", *about])
    for at, tile in enumerate(card.tiles[:_NEIGHBORS]):
        near = tile.near
        mark = ("✓ right", "green", "solid") if near.is_right else ("✗ wrong", "orange", "dashed")
        about = [each for each in (near.told, number(near.score)) if each]
        left = _LEFT + _STEP + _SPLIT + at * _STEP
        _draw_tile(axes, left, top, tile.item, near.key, [*mark, *about])


def _draw_tile(
    axes: Axes, left: int, top: int, item: Item, id: object, told: Sequence[str]
) -> None:
    """Draw a row: its mark, its picture or its text or its id, and what is known of it.

    Args:
        axes: where.
        left: where its border begins.
        top: where its mark begins.
        item: what it looks like.
        id: what names it.
        told: the mark, its colour, the line of its border, and lines below.
    """
    mark, colour, line, *about = told
    top += 16
    axes.text(left, top - 4, mark, size=9, weight="bold", color=light(colour))
    if item.png is not None:
        _draw_picture(axes, left, top, item)
    else:
        text = cut(id, 4 * _LETTERS) if item.text is None else plain(item.text)
        lines = textwrap.wrap(text, _LETTERS, max_lines=_LINES, placeholder="…")
        middle = left + _SIDE / 2, top + _SIDE / 2
        weight = "bold" if item.text is None else "normal"
        axes.text(*middle, "\n".join(lines), size=8, ha="center", va="center", weight=weight)
    border = Rectangle((left, top), _SIDE, _SIDE, fill=False, edgecolor=light(colour))
    border.set(linestyle=line, linewidth=2)
    axes.add_patch(border)
    if item.png is not None or item.text is not None:
        about.insert(0, f"{id}")
    for at, words in enumerate(about):
        axes.text(left, top + _SIDE + 12 * (at + 1), cut(words, 17), size=9, color=light("muted"))


def _draw_picture(axes: Axes, left: int, top: int, item: Item) -> None:
    """Draw a picture amid its tile, as large as fits."""
    image = Image.open(io.BytesIO(item.png or b"")).convert("RGBA")
    scale = (_SIDE - 6) / max(image.size)
    width, height = image.width * scale, image.height * scale
    x, y = left + (_SIDE - width) / 2, top + (_SIDE - height) / 2
    axes.imshow(
        image,
        extent=(x, x + width, y + height, y),
        aspect="auto",
        interpolation="nearest" if item.is_tiny else "bilinear",
    )
