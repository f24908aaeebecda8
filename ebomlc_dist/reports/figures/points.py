"""Figures 7 and 8: what runs ended with, over a setting of EBOMLC. A line joins the means of seeds, a dot is a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from ebomlc_dist.errors import InputError
from ebomlc_dist.reports.figures.curves import Panel, draw_panel
from ebomlc_dist.reports.figures.drawing import Drawing, refuse
from ebomlc_dist.reports.figures.series import Series, Setting, by_key, by_setting, method_number
from ebomlc_dist.reports.figures.style import Look, new_figure, ordered_look, shared_legend, two_rows
from ebomlc_dist.reports.finished import FinishedRun

Points = Mapping[float, Series]


def figure_7(runs: Sequence[FinishedRun]) -> Drawing:
    """EBOMLC's progress, accuracy and time by the number of inner steps T, for each noise."""
    settings = _varied(7, runs, "inner_steps")
    steps = sorted({step for points in settings.values() for step in points})
    looks = {step: ordered_look(place) for place, step in enumerate(steps)}
    figure, above, (accuracy, seconds) = two_rows(len(settings), 2, height=2.4)
    for place, (setting, points) in zip(above, settings.items(), strict=True):
        named = {f"T = {step:g}": (looks[step], points[step]) for step in sorted(points)}
        draw_panel(place, Panel("train/upper", "upper objective F", log=True), named)
        place.set_title(str(setting), loc="left", color="#444444")
    shared_legend(figure, above[0])
    for step in steps:
        across = [place for place, points in enumerate(settings.values()) if step in points]
        found = [points[step] for points in settings.values() if step in points]
        _plot(accuracy, looks[step], across, [_scores(series) for series in found], str(step))
        _plot(seconds, looks[step], across, [_step_ms(series) for series in found], str(step))
    for place, label in ((accuracy, "test accuracy (%)"), (seconds, "time a step (ms)")):
        place.set_xticks(range(len(settings)), [str(setting).replace(", ", "\n") for setting in settings])
        place.set_xlim(-0.3, len(settings) - 0.7)
        place.set_ylabel(label)
    seconds.set_ylim(bottom=0)
    caption = (
        "Above: the upper objective F that EBOMLC minimises (eq. 9), mean over each epoch's steps, for T inner steps. "
        "Below: test accuracy after the last epoch, and training time divided by steps."
    )
    return Drawing(figure, caption, _used(settings))


def figure_8(runs: Sequence[FinishedRun]) -> Drawing:
    """EBOMLC's test accuracy by the mixture weight ρ, a line for each noise, a panel for each data set."""
    settings = _varied(8, runs, "mixture")
    datasets = sorted({setting.data_name for setting in settings})
    noises = sorted({(setting.kind, setting.rate, setting.column) for setting in settings})
    figure, axes = new_figure(1, len(datasets), height=2.9, width=3.6 * len(datasets) + 0.6)
    fullest = max(datasets, key=lambda name: sum(setting.data_name == name for setting in settings))
    for place, name in zip(axes, datasets, strict=True):
        for setting, points in settings.items():
            if setting.data_name == name:
                look = ordered_look(noises.index((setting.kind, setting.rate, setting.column)))
                weights = sorted(points)
                _plot(place, look, weights, [_scores(points[weight]) for weight in weights], _noise(setting))
        place.set_title(name, loc="left", color="#444444")
        place.set_xlabel("mixture weight ρ")
        place.set_ylabel("test accuracy (%)")
        if name == fullest:
            shared_legend(figure, place)
    return Drawing(figure, "Test accuracy of EBOMLC after the last epoch.", _used(settings))


def _varied(number: int, runs: Sequence[FinishedRun], key: str) -> dict[Setting, dict[float, list[FinishedRun]]]:
    """Settings with runs of EBOMLC under at least two values of a method's key."""
    ours = [run for run in runs if run.method == "ebomlc"]
    found = {
        setting: series
        for setting, alike in by_setting(ours).items()
        if len(series := by_key(alike, lambda run: method_number(run, key))) > 1
    }
    if not found:
        refuse(number, f"runs of EBOMLC with at least two values of method.{key} on the same data and noise", [ours])
    return found


def _plot(axes: Axes, look: Look, across: Sequence[float], values: Sequence[Sequence[float]], name: str) -> None:
    means = [sum(group) / len(group) for group in values]
    axes.plot(across, means, label=name, **look.line())
    for place, group in zip(across, values, strict=True):
        if len(group) > 1:
            axes.plot([place] * len(group), group, "o", color=look.colour, markersize=2.2, alpha=0.6)


def _scores(series: Series) -> list[float]:
    return [_figure(run, "accuracy_last") for run in series]


def _step_ms(series: Series) -> list[float]:
    return [1000 * _figure(run, "train_seconds") / _figure(run, "steps") for run in series]


def _figure(run: FinishedRun, key: str) -> float:
    value: Any = run.summary.get(key)
    if not isinstance(value, int | float):
        raise InputError(f"the run in {run.folder} has no {key} in summary.json (was it trained without a test set?)")
    return float(value)


def _noise(setting: Setting) -> str:
    return str(setting).removeprefix(f"{setting.data_name}, ")


def _used(settings: Mapping[Setting, Points]) -> tuple[FinishedRun, ...]:
    return tuple(run for points in settings.values() for series in points.values() for run in series)
