"""One look for every figure: legible in print, told apart without colour, text that stays text in the SVG.

Colours are Okabe and Ito's, without their yellow, which fades on paper; every line has a dash pattern and a marker of
its own beside its colour. No global state of matplotlib is touched.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ebomlc_dist.files.durable import write_bytes

BLUE, VERMILLION, GREEN, ORANGE, PINK, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
BLACK, GREY, OLIVE = "#000000", "#7F7F7F", "#8C7A00"
WIDTH = 7.2
"""Inches: both columns of a page."""
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (7, 2)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
_MARKERS = "os^Dv<>PX*"
_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "legend.fontsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.5,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "ebomlc_dist",
    "figure.dpi": 200,
}


@dataclass(frozen=True)
class Look:
    """How one series is drawn."""

    colour: str
    dashes: Any
    marker: str

    def line(self) -> dict[str, Any]:
        """Keyword arguments of a line."""
        return {"color": self.colour, "linestyle": self.dashes, "marker": self.marker}


_METHODS = {
    "ebomlc": ("EBOMLC", BLUE),
    "mlc": ("MLC", VERMILLION),
    "mlc-d": ("MLC-D", GREEN),
    "glc": ("GLC", ORANGE),
    "dividemix": ("DivideMix", PINK),
    "pmw-net": ("PMW-Net", SKY),
    "mw-net": ("MW-Net", BLACK),
    "l2rw": ("L2RW", GREY),
    "coteaching-plus": ("Co-teaching+", OLIVE),
    "ebomlc-s": ("EBOMLC-S", SKY),
    "ebomlc-released": ("EBOMLC (released step)", PINK),
    "ce": ("CE", BLACK),
    "ce-clean": ("CE (trusted only)", GREY),
    "ce-weighted": ("CE (trusted and noisy, fixed weight)", ORANGE),
    "ce-finetune": ("CE, fine-tuned on trusted", VERMILLION),
    "ce-oracle": ("CE (true labels)", OLIVE),
}
_ORDERED = (BLUE, VERMILLION, GREEN, ORANGE, PINK, SKY, BLACK, GREY)


def method_name(method: str) -> str:
    """A method's name as the papers write it."""
    return _METHODS[method][0] if method in _METHODS else method


def method_look(method: str) -> Look:
    """The same look for a method in every figure."""
    place = list(_METHODS).index(method) if method in _METHODS else len(_METHODS)
    colour = _METHODS[method][1] if method in _METHODS else GREY
    return Look(colour, _DASHES[place % len(_DASHES)], _MARKERS[place % len(_MARKERS)])


def ordered_look(place: int) -> Look:
    """The look of the series number ``place`` of one method under several settings."""
    return Look(_ORDERED[place % len(_ORDERED)], _DASHES[place % len(_DASHES)], _MARKERS[place % len(_MARKERS)])


@contextmanager
def styled() -> Iterator[None]:
    """Within the block figures are made, drawn and saved in this look."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def new_figure(rows: int, columns: int, *, height: float, width: float = WIDTH) -> tuple[Figure, list[Axes]]:
    """A figure with rows × columns axes of ``height`` inches a row, the axes row by row."""
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, [axes for row in grid for axes in row]


def two_rows(above: int, below: int, *, height: float) -> tuple[Figure, list[Axes], list[Axes]]:
    """A figure with so many axes side by side above and below, each row of them as wide as the figure."""
    figure = Figure(figsize=(WIDTH, 2 * height), layout="constrained")
    grid = figure.add_gridspec(2, above * below)
    return (
        figure,
        [figure.add_subplot(grid[0, place * below : (place + 1) * below]) for place in range(above)],
        [figure.add_subplot(grid[1, place * above : (place + 1) * above]) for place in range(below)],
    )


def shared_legend(figure: Figure, axes: Axes, columns: int = 5) -> None:
    """One legend above all axes, from the series of one of them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(columns, len(labels)), handlelength=3.2)


def plain_log(axes: Axes) -> None:
    """A logarithmic y axis with numbers as people write them."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 200 * low else (1.0,), numticks=20))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def save(figure: Figure, stem: Path, title: str, description: str) -> list[Path]:
    """Write ``stem``.png and ``stem``.svg, with title and description inside them."""
    metadata: Mapping[str, Mapping[str, Any]] = {
        "png": {"Title": title, "Description": description, "Software": None},
        "svg": {"Title": title, "Description": description, "Date": None},
    }
    written = []
    for kind, texts in metadata.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=dict(texts))
        path = stem.with_name(f"{stem.name}.{kind}")
        write_bytes(path, buffer.getvalue())
        written.append(path)
    return written
