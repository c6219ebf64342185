"""A part of the page."""

from typing import NamedTuple

from markupsafe import Markup


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        key: its anchor: small letters and hyphens.
        title: its heading, as text.
        html: what stands below the heading; headings within begin at `<h3>`.
    """

    key: str
    title: str
    html: Markup
