"""The page that compares runs: one file, no script, no network, readable on a small screen and by keyboard."""

from collections.abc import Mapping, Sequence

from matplotlib.ticker import MaxNLocator

from ebomlc_dist.pages.charts import Line, LineChart
from ebomlc_dist.pages.templating import render, visible
from ebomlc_dist.reports.comparison.sections import (
    cost,
    cost_chart,
    heats,
    named,
    scores,
    settings_that_differ,
    warnings,
)
from ebomlc_dist.reports.finished import FinishedRun

_CURVES = (
    ("eval/accuracy", "Test accuracy", "Per cent, at the end of each epoch."),
    ("eval/clean_loss", "Loss on the trusted images", "Cross entropy of the main model, in evaluation mode."),
    ("train/lower", "Lower loss", "What the method minimises on noisy images, mean over each epoch's steps."),
    ("label/wrong_labels_corrected", "Wrong labels corrected", "Per cent, counted over each epoch's steps."),
    ("label/right_labels_kept", "Right labels kept", "Per cent, likewise."),
    ("train/barrier_coefficient", "Barrier coefficient β", "Mean over each epoch's steps."),
)

_HEADROOM = 0.04


def page(runs: Sequence[FinishedRun]) -> str:
    """The page of these runs, in their order. Every name in it is escaped."""
    by_name = named(list(runs))
    return render(
        "ebomlc_dist.reports.comparison",
        "comparison.html.j2",
        folders=[(name, visible(str(run.folder))) for name, run in by_name.items()],
        warnings=warnings(by_name),
        scores=scores(by_name),
        settings=settings_that_differ(by_name),
        line_charts=line_charts(by_name),
        heats=heats(by_name),
        cost=cost(by_name),
        cost_chart=cost_chart(by_name),
    )


def line_charts(runs: Mapping[str, FinishedRun]) -> list[LineChart]:
    """Every curve that some run has, over epochs, and the accuracy over training time as well. Keys are the names."""
    charts = [
        _chart(f"{title} over epochs", note, "", _points(runs, key, over_time=False)) for key, title, note in _CURVES
    ]
    over_time = _points(runs, "eval/accuracy", over_time=True)
    charts.insert(
        1, _chart("Test accuracy over time", "Per cent; training alone, without evaluation.", " s", over_time)
    )
    return [chart for chart in charts if chart.lines]


def _points(
    runs: Mapping[str, FinishedRun], key: str, *, over_time: bool
) -> dict[tuple[int, str], list[tuple[float, float]]]:
    found = {}
    for kind, (name, run) in enumerate(runs.items()):
        points = [
            (epoch.seconds if over_time else float(number), float(epoch.values[key]))
            for number, epoch in enumerate(run.last_stage, start=1)
            if isinstance(epoch.values.get(key), int | float)
        ]
        if points:
            found[kind, name] = points
    return found


def _chart(
    title: str, note: str, unit: str, series: Mapping[tuple[int, str], Sequence[tuple[float, float]]]
) -> LineChart:
    across = [place for points in series.values() for place, _ in points] or [0.0, 1.0]
    up = [value for points in series.values() for _, value in points] or [0.0, 1.0]
    left, right = min(across), max(across)
    margin = _HEADROOM * ((max(up) - min(up)) or abs(max(up)) or 1.0)
    low, high = min(up) - margin, max(up) + margin
    lines = []
    for (kind, name), points in series.items():
        places = tuple((_share(x, left, right), _share(y, low, high)) for x, y in points)
        alone = places if len(places) == 1 else ()
        lines.append(Line(f"{name}: {points[-1][1]:.4g} at the end", kind, places, alone))
    ticks = MaxNLocator(nbins=5, integer=not unit).tick_values(left, right)
    return LineChart(
        title,
        note,
        tuple((_share(tick, left, right), f"{tick:g}{unit}") for tick in ticks if left <= tick <= right),
        tuple(
            (_share(tick, low, high), f"{tick:g}")
            for tick in MaxNLocator(nbins=4).tick_values(low, high)
            if low <= tick <= high
        ),
        tuple(lines),
    )


def _share(value: float, low: float, high: float) -> float:
    return 50.0 if high == low else 100.0 * (float(value) - low) / (high - low)
