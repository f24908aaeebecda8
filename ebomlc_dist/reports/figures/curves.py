"""Figures 1, 4, 5 and 9: what was measured at every epoch, as lines.

A run is a line. Runs that differ by their seed alone are thin lines of one look, with their mean over them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ebomlc_dist.recipes.paper_figures import NINE_METHODS
from ebomlc_dist.reports.figures.drawing import Drawing, complete_settings, refuse
from ebomlc_dist.reports.figures.series import Series, Setting, by_key, by_setting, method_number
from ebomlc_dist.reports.figures.style import (
    Look,
    method_look,
    method_name,
    new_figure,
    ordered_look,
    plain_log,
    shared_legend,
)
from ebomlc_dist.reports.finished import FinishedRun

_FEW_EPOCHS = 25


@dataclass(frozen=True)
class Panel:
    """A metric over epochs, or over seconds of training. ``log``: of the axis."""

    key: str
    label: str
    over: Literal["epoch", "seconds"] = "epoch"
    log: bool = False


CLEAN_LOSS = Panel("eval/clean_loss", "upper loss F", log=True)
LOWER_LOSS = Panel("train/lower", "lower loss G")
ACCURACY = Panel("eval/accuracy", "test accuracy (%)")
_UPPER = (
    "F is the main model's mean cross entropy on the trusted images (eq. 2), in evaluation mode at each epoch's end"
)
_LOWER = "G is the mean over the epoch's steps of the lower objective (eq. 3)"


def figure_1(runs: Sequence[FinishedRun]) -> Drawing:
    """MLC against MLC-D."""
    settings = complete_settings(1, runs, ("mlc", "mlc-d"))
    return _by_method(settings, (CLEAN_LOSS, ACCURACY), f"{_UPPER}.")


def figure_4(runs: Sequence[FinishedRun]) -> Drawing:
    """Every method of the paper's tables that has a run; the others are named as missing."""
    settings = by_setting([run for run in runs if run.method in NINE_METHODS])
    if not settings:
        refuse(4, "runs of the paper's methods")
    missing = tuple(
        f"{method_name(method)} on {setting}"
        for setting, alike in settings.items()
        for method in NINE_METHODS
        if method not in {run.method for run in alike}
    )
    return _by_method(
        settings, (CLEAN_LOSS, ACCURACY), f"{_UPPER}; of methods in stages the last one is shown.", missing
    )


def figure_5(runs: Sequence[FinishedRun]) -> Drawing:
    """EBOMLC against MLC-D, over epochs and over training time."""
    panels = tuple(
        Panel(panel.key, panel.label, over, panel.log)
        for over in ("epoch", "seconds")
        for panel in (CLEAN_LOSS, LOWER_LOSS)
    )
    settings = complete_settings(5, runs, ("ebomlc", "mlc-d"))
    return _by_method(settings, panels, f"{_UPPER}; {_LOWER}. Time is of training alone, without evaluation.")


def figure_9(runs: Sequence[FinishedRun]) -> Drawing:
    """EBOMLC under several noisy scales ξ."""
    settings = {
        setting: series
        for setting, alike in by_setting([run for run in runs if run.method == "ebomlc"]).items()
        if len(series := by_key(alike, lambda run: method_number(run, "noisy_scale"))) > 1
    }
    if not settings:
        refuse(9, "runs of EBOMLC with at least two values of method.noisy_scale", [runs])
    panels = (
        CLEAN_LOSS,
        LOWER_LOSS,
        ACCURACY,
        Panel("train/upper_main_norm", "‖∇F‖ (main part)", log=True),
        Panel("train/gap_main_norm", "‖∇Q‖ (main part)", log=True),
        Panel("train/barrier_coefficient", "β"),
    )
    named = {
        setting: {f"ξ = {scale:g}": (ordered_look(place), series[scale]) for place, scale in enumerate(sorted(series))}
        for setting, series in settings.items()
    }
    return _draw(named, panels, 3, f"{_UPPER}; {_LOWER}, as are norms and β.")


def _by_method(
    settings: Mapping[Setting, Sequence[FinishedRun]],
    panels: Sequence[Panel],
    caption: str,
    missing: tuple[str, ...] = (),
) -> Drawing:
    named = {}
    for setting, alike in settings.items():
        series = by_key(alike, lambda run: run.method)
        order = sorted(series, key=lambda method: NINE_METHODS.index(method))
        named[setting] = {method_name(method): (method_look(method), series[method]) for method in order}
    return _draw(named, panels, 2, caption, missing)


def _draw(
    settings: Mapping[Setting, Mapping[str, tuple[Look, Series]]],
    panels: Sequence[Panel],
    columns: int,
    caption: str,
    missing: tuple[str, ...] = (),
) -> Drawing:
    rows = -(-len(panels) // columns)
    figure, axes = new_figure(rows * len(settings), columns, height=2.15)
    places = iter(axes)
    used: list[FinishedRun] = []
    widest = max(settings, key=lambda setting: len(settings[setting]))
    for setting, named in settings.items():
        used += [run for _, series in named.values() for run in series]
        for panel in panels:
            place = next(places)
            draw_panel(place, panel, named)
            place.set_title(str(setting), loc="left", color="#444444")
            if setting == widest and panel == panels[0]:
                shared_legend(figure, place)
    return Drawing(figure, caption, tuple(used), missing)


def draw_panel(axes: Axes, panel: Panel, named: Mapping[str, tuple[Look, Series]]) -> None:
    """One panel: every series by its name, with each seed's line."""
    for place, (name, (look, series)) in enumerate(named.items()):
        lines = [(_across(run, panel), run.series(panel.key)) for run in series]
        few = len(lines[0][1]) <= _FEW_EPOCHS
        # The first ones are the widest, so that lines that fall together are all seen.
        width = 2.2 - 1.1 * place / max(len(named) - 1, 1)
        style = look.line() | {
            "markevery": 1 if few else len(lines[0][1]) // 10,
            "linewidth": width,
            "markersize": 2.2 + width,
        }
        if len(lines) == 1:
            axes.plot(*lines[0], label=name, **style)
            continue
        for across, values in lines:
            axes.plot(across, values, color=look.colour, linestyle=look.dashes, linewidth=0.7, alpha=0.5)
        axes.plot(*(_mean(part) for part in zip(*lines, strict=True)), label=name, **style)
    axes.set_xlabel("epoch" if panel.over == "epoch" else "training time (s)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=panel.over == "epoch", nbins=6))
    axes.set_ylabel(panel.label)
    if panel.log:
        plain_log(axes)


def _across(run: FinishedRun, panel: Panel) -> list[float]:
    if panel.over == "seconds":
        return [epoch.seconds for epoch in run.last_stage]
    return [float(number) for number in range(1, len(run.last_stage) + 1)]


def _mean(lines: Sequence[Sequence[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*lines, strict=True)]
