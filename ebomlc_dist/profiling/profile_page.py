"""A report as one HTML file that needs nothing else: no script, no network, readable on a small screen."""

from collections.abc import Sequence

from ebomlc_dist.pages.charts import Bar, BarChart, Line, LineChart, Piece
from ebomlc_dist.pages.templating import render
from ebomlc_dist.profiling.phases import PHASES
from ebomlc_dist.profiling.report import Report
from ebomlc_dist.profiling.scaling import MODES, RowScaling, Scaling
from ebomlc_dist.profiling.text_tables import about, number, ratio, spread, tables


def page(report: Report) -> str:
    """The page of a report. Every text in it is escaped."""
    return render(
        "ebomlc_dist.profiling",
        "profile.html.j2",
        about=about(report),
        bar_charts=bar_charts(report),
        line_charts=line_charts(report),
        tables=tables(report),
        setting=report.setting,
    )


def bar_charts(report: Report) -> list[BarChart]:
    """Time, phases and ratios."""
    return [_times(report), _phases(report), *([_ratios(report)] if report.comparisons else [])]


def line_charts(report: Report) -> list[LineChart]:
    """Efficiency over the number of processes, one chart a method."""
    return [] if report.scaling is None else [_efficiency(row, report.scaling) for row in report.scaling.rows]


def _times(report: Report) -> BarChart:
    full = max(row.step_ms.high for row in report.rows)
    bars = []
    for row in report.rows:
        share, low, high = (100 * value / full for value in (row.step_ms.median, row.step_ms.low, row.step_ms.high))
        piece = Piece(0.0, share, 0, f"{number(row.step_ms.median)} ms")
        bars.append(Bar(row.name, f"{spread(row.step_ms)} ms", (piece,), low, high))
    return BarChart("Time a step", "Median; the whisker spans the middle half of the rounds.", tuple(bars))


def _phases(report: Report) -> BarChart:
    sums = [sum(phase.median for phase in row.phases.values()) for row in report.rows]
    full, bars = max(sums), []
    for row, total in zip(report.rows, sums, strict=True):
        pieces, start = [], 0.0
        for kind, name in enumerate(PHASES):
            milliseconds = row.phases[name].median
            width = 100 * milliseconds / full
            pieces.append(Piece(start, width, kind, f"{name} {number(milliseconds)} ms"))
            start += width
        bars.append(Bar(row.name, f"{number(total)} ms", tuple(pieces)))
    return BarChart("Where the time goes", "Medians of the phases of a step.", tuple(bars), PHASES)


def _ratios(report: Report) -> BarChart:
    full = max(1.0, *(comparison.ratio.high for comparison in report.comparisons))
    bars = []
    for comparison in report.comparisons:
        value = comparison.ratio
        share, low, high = (100 * part / full for part in (value.median, value.low, value.high))
        bars.append(Bar(comparison.row, ratio(value), (Piece(0.0, share, 0, f"{value.median:.2f}"),), low, high))
    base = report.rows[0].name
    note = f"Step time over that of {base}, paired by round, with the 95 % interval; the line is {base} itself."
    return BarChart(f"Against {base}", note, tuple(bars), mark=100 / full)


def _efficiency(row: RowScaling, scaling: Scaling) -> LineChart:
    sizes = sorted({point.world_size for point in row.points})
    places = {size: 100 * (place + 0.5) / len(sizes) for place, size in enumerate(sizes)}
    lines = []
    for kind, mode in enumerate(MODES):
        points = [point for point in row.points if point.mode == mode]
        model = tuple((places[point.world_size], _up(point.efficiency)) for point in points)
        measured = tuple(
            (places[point.world_size], _up(point.measured_efficiency))
            for point in points
            if point.measured_efficiency is not None
        )
        lines.append(Line(mode, kind, model, measured))
    ticks: Sequence[tuple[float, str]] = [(across, str(size)) for size, across in places.items()]
    note = "Efficiency over the number of processes: dots measured, lines by the model below."
    if any(scaling.shares_cores(point) for point in row.points):
        note += f" Dots above {scaling.cores} are of processes that share {scaling.cores} cores."
    levels = tuple((_up(per_cent / 100), f"{per_cent} %") for per_cent in (0, 25, 50, 75, 100))
    return LineChart(f"Scaling of {row.name}", note, tuple(ticks), levels, tuple(lines))


def _up(efficiency: float) -> float:
    """Room for a little over 100 %, which noise can show."""
    return min(100.0 * efficiency / 1.1, 100.0)
