"""The page: its template, style and script, in one file."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from milepost._report._figure import COLOURS
from milepost._report._numbers import number
from milepost._report._section import Section


def fill(template: str, **values: Any) -> Markup:
    """Return a template of the folder `page`, filled in; what is not `Markup` is escaped."""
    return Markup(_environment().get_template(template).render(values))


def page(title: str, header: Markup, sections: Sequence[Section], *, refresh_s: int | None) -> str:
    """Return the page.

    Args:
        title: of the window.
        header: what stands above the sections.
        sections: in their order.
        refresh_s: after how many seconds a browser reads it anew; None for never.
    """
    return fill(
        "page.html",
        title=title,
        header=header,
        sections=sections,
        refresh_s=refresh_s,
        light={name: pair[0] for name, pair in COLOURS.items()},
        dark={name: pair[1] for name, pair in COLOURS.items()},
        style=Markup(_read("page.css") + _read("queries.css")),
        script=Markup(_read("page.js")),
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment


def _read(name: str) -> str:
    return files(__package__).joinpath("page", name).read_text(encoding="utf-8")
