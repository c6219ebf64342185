"""Figures of one style, as SVG for the page and as pixels for monitors.

Colours are those of the light page; in an SVG they become the page's variables, so that a figure
is dark where the page is.
"""

import functools
import hashlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from cycler import cycler
from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

P = ParamSpec("P")

COLOURS = {  # of the light page and of the dark one
    "paper": ("#ffffff", "#15181d"),
    "ink": ("#1c2430", "#e4e7ec"),
    "muted": ("#5a6472", "#a2abb8"),
    "rule": ("#d9dde3", "#363c46"),
    "blue": ("#0068a8", "#5fb3ee"),
    "orange": ("#c04f00", "#ff9149"),
    "green": ("#007a5c", "#35c39b"),
    "purple": ("#9b3f7c", "#e493c6"),
    "ochre": ("#856200", "#dfb03c"),
    "slate": ("#4f5b93", "#a3aef0"),
}
"""Told apart by people who are blind to some colours, as those of Okabe and Ito (2008) are."""

SERIES = ("blue", "orange", "green", "purple", "ochre", "slate")

_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_LINK = "{http://www.w3.org/1999/xlink}href"
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff￾￿]")


def light(name: str) -> str:
    """Return a colour to draw with."""
    return COLOURS[name][0]


def plain(text: object) -> str:
    """Return text without what XML cannot hold."""
    return _UNPRINTABLE.sub("�", str(text))


def cut(text: object, most: int) -> str:
    """Return plain text of at most so many characters: where it is longer, its two ends."""
    whole = plain(text)
    head = most // 2
    tail = len(whole) - (most - 1 - head)
    return whole if len(whole) <= most else f"{whole[:head]}\N{HORIZONTAL ELLIPSIS}{whole[tail:]}"


def drawn(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Have a function draw in the style of the report, whatever the user's own style is."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _style():
            return draw(*args, **kwargs)

    return wrapped


def new_axes(
    width: int = 340,
    height: int = 230,
    *,
    left: int = 46,
    right: int = 14,
    top: int = 12,
    bottom: int = 38,
) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes; sizes and margins are pixels of the page."""
    figure = Figure(figsize=(width / 72, height / 72))
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    return figure, figure.add_axes(box)


def as_svg(figure: Figure, title: str, description: str, *, points: Sequence[str] = ()) -> Markup:
    """Return a figure as SVG to stand in a page.

    Args:
        figure: what was drawn.
        title: its name, for those who do not see it.
        description: what it shows, for them.
        points: what each point of its scatter plots says of itself, in the order of drawing.
    """
    root = ElementTree.fromstring(_saved(figure))
    for metadata in root.findall("{*}metadata"):
        root.remove(metadata)
    _name_points(root, points)
    own = hashlib.sha256(f"{title}\n{description}".encode("utf-8", "replace"))
    own.update(ElementTree.tostring(root))
    _fit(root, f"f{own.hexdigest()[:8]}")
    about = {"role": "img", "aria-label": plain(f"{title}. {description}")}
    width = f"max-width: {figure.get_figwidth() * 72 * 1.25:.0f}px"
    root.attrib = {"viewBox": root.attrib["viewBox"], "style": width, **about}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _name_points(root: ElementTree.Element, points: Sequence[str]) -> None:
    """Give each point of the scatter plots of a figure a title."""
    plots = (each for each in root.iter() if each.get("id", "").startswith("PathCollection"))
    marks = (mark for plot in plots for mark in plot.iterfind(".//{*}use"))
    for mark, text in zip(marks, points, strict=False):
        ElementTree.SubElement(mark, "title").text = plain(text)


def as_pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """Return a figure as RGB, shape (height, width, 3)."""
    canvas: Any = FigureCanvasAgg(figure)
    with _style(), _any_script():
        figure.set_dpi(144)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _saved(figure: Figure) -> bytes:
    file = io.BytesIO()
    with _style(), _any_script():
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()


def _fit(root: ElementTree.Element, prefix: str) -> None:
    """Make an SVG part of a page: its names and ids without clashes, its colours the page's."""
    used = {each.get(_LINK, "")[1:] for each in root.iter()}
    used |= {name for each in root.iter() for name in _REFERENCE.findall(each.get("clip-path", ""))}
    for each in root.iter():
        each.tag = each.tag.rpartition("}")[2]  # HTML knows these names, and no prefixes
        name = each.attrib.pop("id", None)
        if name in used:
            each.set("id", f"{prefix}{name}")
        if _LINK in each.attrib:
            each.set("href", f"#{prefix}{each.attrib.pop(_LINK)[1:]}")
        if "clip-path" in each.attrib:
            each.set("clip-path", _REFERENCE.sub(rf"url(#{prefix}\1)", each.attrib["clip-path"]))
        if "style" in each.attrib:
            each.set("style", _with_variables(each.attrib["style"]))


@contextmanager
def _any_script() -> Iterator[None]:
    """Do not warn of letters that the font lacks: a browser has others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        yield


@contextmanager
def _style() -> Iterator[None]:
    with style.context(["default", _STYLE]):
        yield


def _with_variables(css: str) -> str:
    """Return a style with the page's variables in place of the light colours."""
    return _HEX.sub(lambda found: _VARIABLES.get(found[0].lower(), found[0]), css)


_HEX = re.compile("#[0-9a-fA-F]{6}")
_VARIABLES = {pair[0]: f"var(--{name})" for name, pair in COLOURS.items()}
_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": light("rule"),
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": light("muted"),
    "axes.labelsize": 11,
    "axes.prop_cycle": cycler(color=[light(name) for name in SERIES]),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 72,
    "figure.facecolor": light("paper"),
    "font.size": 11,
    "grid.color": light("rule"),
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "lines.solid_capstyle": "round",
    "path.simplify_threshold": 0.3,
    "savefig.dpi": 72,
    "svg.fonttype": "none",
    "svg.hashsalt": "milepost",
    "text.color": light("ink"),
    "text.parse_math": False,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.color": light("rule"),
    "xtick.labelcolor": light("muted"),
    "ytick.color": light("rule"),
    "ytick.labelcolor": light("muted"),
}
