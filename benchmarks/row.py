"""What a row and a section of the table are."""

from typing import NamedTuple

from benchmarks.side import Side


class Row(NamedTuple):
    """Two sides, or one alone, and what is aimed for.

    Attributes:
        title: what is measured.
        first: ours; where `other` is ours too, the side that it is set against.
        other: the peer, or ours on other data.
        named: what the table calls the other side.
        least: the seconds of the other over those of the first, at least.
        most: the same, at most.
        memory: the peak of ours over that of the other, at most; where both are ours, that of the
            other over the first.
        most_time: what the first takes in the unit of its section, at most.
        most_mb: its peak, at most; a run that exceeds it fails.
    """

    title: str
    first: Side
    other: Side | None = None
    named: str = ""
    least: float | None = None
    most: float | None = None
    memory: float | None = None
    most_time: float | None = None
    most_mb: float | None = None


class Section(NamedTuple):
    """Rows that share a heading.

    Attributes:
        title: of the section.
        note: what is to be known to read it.
        rows: the rows; none: the note stands alone.
        headings: of the columns of the first side, of the other, and of what the other is.
        ours: whether both sides are ours.
        unit: of the times.
        per_s: how many of the units a second has.
    """

    title: str
    note: str
    rows: list[Row]
    headings: tuple[str, str, str] = ("ours", "peer", "peer")
    ours: bool = False
    unit: str = "s"
    per_s: float = 1.0
