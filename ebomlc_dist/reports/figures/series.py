"""Which runs belong into one panel, and which are one series: alike in all but their seed."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from ebomlc_dist.config import RunConfig
from ebomlc_dist.errors import InputError
from ebomlc_dist.keys import compared, cost_keys
from ebomlc_dist.reports.finished import FinishedRun

DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "digits": "Digits"}


@dataclass(frozen=True, order=True)
class Setting:
    """Data and noise of a panel. ``rate`` in 0…1; ``column`` of human labels."""

    dataset: str
    kind: str
    rate: float
    column: str = ""

    @property
    def data_name(self) -> str:
        """The data set's name as the papers write it."""
        return DATASETS.get(self.dataset, self.dataset)

    def __str__(self) -> str:
        noise = {"none": "no added noise", "human": f"human labels ({self.column})"}.get(
            self.kind, f"{100 * self.rate:g} % {self.kind}"
        )
        return f"{self.data_name}, {noise}"


Series = Sequence[FinishedRun]
"""Runs that differ by their seed alone."""


def setting_of(run: FinishedRun) -> Setting:
    """Data and noise of a run."""
    noise = run.config.noise
    return Setting(run.config.data.dataset, noise.kind, noise.rate, noise.human_column or "")


def method_number(run: FinishedRun, key: str) -> float:
    """A numeric setting of a run's method."""
    return float(getattr(run.config.method, key))


def by_setting(runs: Series) -> dict[Setting, list[FinishedRun]]:
    """Runs of the same data and noise, checked to be alike in model, sizes and length."""
    found: dict[Setting, list[FinishedRun]] = {}
    for run in runs:
        found.setdefault(setting_of(run), []).append(run)
    for alike in found.values():
        for run in alike[1:]:
            _check_alike(alike[0], run, _frame, "are of the same data and noise")
    return dict(sorted(found.items()))


def by_key(runs: Series, key: Callable[[FinishedRun], Any]) -> dict[Any, list[FinishedRun]]:
    """Series by a key, such as the method or one of its settings; a run that is there twice counts once."""
    found: dict[Any, list[FinishedRun]] = {}
    for run in runs:
        series = found.setdefault(key(run), [])
        for other in series:
            _check_alike(other, run, _comparable, "would be one series")
        if all(other.config.seeds != run.config.seeds for other in series):
            series.append(run)
    return found


def differences(first: RunConfig, second: RunConfig) -> list[str]:
    """Dotted keys, in order, whose values differ and that could change what is measured."""
    left, right = (_comparable(config) for config in (first, second))
    return [key for key in dict.fromkeys([*left, *right]) if left.get(key) != right.get(key)]


def _check_alike(
    first: FinishedRun, second: FinishedRun, view: Callable[[RunConfig], dict[str, Hashable]], why: str
) -> None:
    left, right = view(first.config), view(second.config)
    for key in dict.fromkeys([*left, *right]):
        if left.get(key) != right.get(key):
            raise InputError(
                f"{first.folder} and {second.folder} {why}, but differ in {key} "
                f"({left.get(key)} and {right.get(key)}); give one of the two with --runs"
            )


def _comparable(config: RunConfig) -> dict[str, Hashable]:
    """What runs of one series have in common."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in compared(config).items()}


def _frame(config: RunConfig) -> dict[str, Hashable]:
    """What runs of one panel have in common: data, noise, model, and the length and size of the run."""
    sizes = set(cost_keys())
    return {
        key: value
        for key, value in _comparable(config).items()
        if key in sizes or key.startswith(("data.", "noise.", "model."))
    }
