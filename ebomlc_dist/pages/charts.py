"""Charts and tables as values. Geometry is in per cent, so that a page fits any screen without scaled text."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """A stretch of a bar. ``kind``: an index into the page's colours."""

    start: float
    width: float
    kind: int
    label: str


@dataclass(frozen=True)
class Bar:
    """One line of a chart: a name, a figure in words, stretches, and a whisker from ``low`` to ``high``."""

    name: str
    figure: str
    pieces: tuple[Piece, ...]
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class BarChart:
    """Bars one above the other. ``legend``: names of the kinds; ``mark``: where a line of reference stands."""

    title: str
    note: str
    bars: tuple[Bar, ...]
    legend: tuple[str, ...] = ()
    mark: float | None = None


@dataclass(frozen=True)
class Line:
    """Points (across, up) in per cent; ``measured`` is drawn as dots, the others as a line."""

    name: str
    kind: int
    points: tuple[tuple[float, float], ...]
    measured: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class LineChart:
    """Lines over named places along the bottom and named levels along the side, both in per cent."""

    title: str
    note: str
    places: tuple[tuple[float, str], ...]
    levels: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class TextTable:
    """A heading, what it says in a sentence, and cells."""

    title: str
    note: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
