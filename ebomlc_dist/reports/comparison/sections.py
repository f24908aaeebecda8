"""Scores, settings that differ, cost and label correction of several runs, as cells of text."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebomlc_dist.keys import plain
from ebomlc_dist.pages.charts import Bar, BarChart, Piece, TextTable
from ebomlc_dist.pages.templating import visible
from ebomlc_dist.reports.figures.series import differences, setting_of
from ebomlc_dist.reports.figures.style import method_name
from ebomlc_dist.reports.finished import FinishedRun

Runs = Mapping[str, FinishedRun]
NONE = "–"
HEAT_CLASSES = 20
_SHADES = 9
_SCORES = (
    ("test accuracy, last epoch", "accuracy_last"),
    ("mean of the last 10", "accuracy_last10_mean"),
    ("at the best validation accuracy", "accuracy_at_best_validation"),
    ("best epoch on the test set", "accuracy_best"),
    ("wrong labels corrected", "wrong_labels_corrected"),
    ("right labels kept", "right_labels_kept"),
    ("wrong corrected by prediction", "prediction_wrong_labels_corrected"),
    ("right kept by prediction", "prediction_right_labels_kept"),
)


@dataclass(frozen=True)
class Heat:
    """A correction matrix: class names, and rows of (per cent, shade from 0 to 9), each of a true class."""

    title: str
    names: tuple[str, ...]
    rows: tuple[tuple[tuple[str, int], ...], ...]


def named(runs: list[FinishedRun]) -> dict[str, FinishedRun]:
    """Runs under the shortest names that tell them apart: method, folder, or path."""
    for name in (lambda run: method_name(run.method), lambda run: run.folder.name, lambda run: str(run.folder)):
        names = [visible(name(run)) for run in runs]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, runs, strict=True))


def scores(runs: Runs) -> TextTable:
    """What the runs ended with, in per cent."""
    rows = tuple(
        (
            name,
            str(setting_of(run)),
            str(run.config.seeds.seed),
            *(_number(run.summary.get(key), "{:.2f}") for _, key in _SCORES),
        )
        for name, run in runs.items()
    )
    return TextTable(
        "Scores",
        "Per cent. The best epoch is selected on the test set: it flatters, and is given because papers quote it.",
        ("run", "data", "seed", *(heading for heading, _ in _SCORES)),
        rows,
    )


def settings_that_differ(runs: Runs) -> TextTable:
    """Every key whose value is not the same in all runs, seeds among them."""
    every = {name: plain(run.config) for name, run in runs.items()}
    first = next(iter(runs.values())).config
    keys = dict.fromkeys(key for run in runs.values() for key in differences(first, run.config))
    seeds = [key for key in plain(first) if key.startswith("seeds.")]
    keys |= dict.fromkeys(key for key in seeds if len({repr(values[key]) for values in every.values()}) > 1)
    rows = tuple((key, *(_value(values.get(key, NONE)) for values in every.values())) for key in sorted(keys))
    note = "Keys of the configuration that could change a result." if rows else "None: the runs were set alike."
    return TextTable("Settings that differ", note, ("key", *runs), rows)


def cost(runs: Runs) -> TextTable:
    """Time of training alone, and what it was spent on."""
    rows = tuple(
        (
            name,
            _number(run.summary.get("train_seconds"), "{:.1f}"),
            str(run.summary.get("steps", NONE)),
            _number(_step_ms(run), "{:.1f}"),
            _number(run.summary.get("images_per_second"), "{:.0f}"),
            str(run.summary.get("world_size", NONE)),
            str(run.summary.get("skipped_steps", NONE)),
            ", ".join(map(str, run.environment.get("devices", [NONE]))),
            str(run.environment.get("processor", NONE)),
        )
        for name, run in runs.items()
    )
    headings = ("run", "training s", "steps", "ms a step", "noisy images/s", "processes", "skipped steps", "devices")
    note = "Training alone, without evaluation and checkpoints. Compare times of one machine, with nothing else on it."
    return TextTable("Cost", note, (*headings, "processor"), rows)


def cost_chart(runs: Runs) -> BarChart | None:
    """Milliseconds a step as bars, where they are known."""
    times = {name: ms for name, run in runs.items() if (ms := _step_ms(run)) is not None}
    if not times:
        return None
    full = max(times.values())
    bars = tuple(
        Bar(name, f"{ms:.1f} ms", (Piece(0.0, 100 * ms / full, 0, f"{ms:.1f} ms"),)) for name, ms in times.items()
    )
    return BarChart("Time a step", "Training time divided by steps.", bars)


def heats(runs: Runs) -> list[Heat]:
    """The correctors' labels by true class, where the truth is known and the classes are few enough to be seen."""
    found = []
    for name, run in runs.items():
        matrix = run.summary.get("correction_matrix")
        if matrix and len(matrix) <= HEAT_CLASSES:
            names = tuple(visible(label) for label in run.class_names)
            found.append(Heat(name, names, tuple(_shaded(row) for row in matrix)))
    return found


def warnings(runs: Runs) -> list[str]:
    """Why these runs should not be compared, in a sentence each."""
    found = []
    if len({setting_of(run) for run in runs.values()}) > 1:
        found.append("The runs are of different data or noise: their scores do not compare.")
    for key, what in (("num_test", "test images"), ("num_noisy", "noisy images"), ("num_clean", "trusted images")):
        if len({run.summary.get(key) for run in runs.values()}) > 1:
            found.append(f"The runs have different numbers of {what}.")
    if len({run.config.train.epochs for run in runs.values()}) > 1:
        found.append("The runs differ in length.")
    machines = {(str(run.environment.get("processor")), str(run.environment.get("devices"))) for run in runs.values()}
    if len(machines) > 1:
        found.append("The runs are from different machines: their times do not compare.")
    return found


def _step_ms(run: FinishedRun) -> float | None:
    seconds, steps = run.summary.get("train_seconds"), run.summary.get("steps")
    return 1000 * seconds / steps if isinstance(seconds, int | float) and steps else None


def _shaded(row: list[int]) -> tuple[tuple[str, int], ...]:
    total = max(sum(row), 1)
    return tuple((f"{100 * count / total:.0f}", round((count / total) ** 0.5 * _SHADES)) for count in row)


def _number(value: Any, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else NONE


def _value(value: Any) -> str:
    return visible(str(value if not isinstance(value, Path) else value.name))
