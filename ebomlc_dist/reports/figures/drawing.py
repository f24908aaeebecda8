"""What a figure's function is given and gives back, and the refusals that they share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from matplotlib.figure import Figure

from ebomlc_dist.errors import InputError
from ebomlc_dist.reports.figures.series import Setting, by_setting
from ebomlc_dist.reports.figures.style import method_name
from ebomlc_dist.reports.finished import FinishedRun


@dataclass(frozen=True)
class Drawing:
    """A figure that is drawn but not yet written.

    Attributes:
        figure: matplotlib's.
        caption: what the panels show, in sentences.
        runs: the runs whose figures are in it, and no others.
        missing: what would belong into it but no run was given for.
    """

    figure: Figure
    caption: str
    runs: tuple[FinishedRun, ...]
    missing: tuple[str, ...] = ()


def complete_settings(
    number: int, runs: Sequence[FinishedRun], methods: Sequence[str]
) -> dict[Setting, list[FinishedRun]]:
    """The settings in which every one of ``methods`` has a run, with the runs of these methods."""
    wanted = by_setting([run for run in runs if run.method in methods])
    found = {setting: alike for setting, alike in wanted.items() if {run.method for run in alike} == set(methods)}
    if not found:
        refuse(number, f"runs of {' and '.join(map(method_name, methods))} on the same data and noise", wanted.values())
    return found


def refuse(number: int, needs: str, given: Iterable[Sequence[FinishedRun]] = ()) -> NoReturn:
    """Raise the `InputError` of a figure that the given runs do not make."""
    there = sorted({f"{run.method} ({setting})" for setting, run in _named(given)})
    raise InputError(
        f"figure {number} needs {needs}; there {'are' if there else 'is'} {', '.join(there) or 'none'}. Make them: "
        f"ebomlc train figure-{number} -o runs/figure-{number} (figure-{number}:tiny takes minutes)"
    )


def _named(given: Iterable[Sequence[FinishedRun]]) -> Iterable[tuple[Setting, FinishedRun]]:
    return ((setting, run) for alike in given for setting, runs in by_setting(alike).items() for run in runs)
