"""What a run that was given no folder is called: its recipe, and the noise that is in force."""

from pathlib import Path

import pytest

from ebomlc_dist.cli.start import Start
from ebomlc_dist.recipes.assemble import Request, resolve
from ebomlc_dist.recipes.settings import Setting


def name(recipe: str, seeds: tuple[str, ...] = (), **settings: str) -> str:
    """The folder's name after its time."""
    flags = tuple(Setting(key.replace("__", "."), value, "--set") for key, value in settings.items())
    runs = resolve(Request(recipe=recipe, methods=("ce",), seeds=seeds, flags=flags))
    return Start(runs, None, False, "cpu", False).default_output().name[len("20261130-093140-") :]


@pytest.mark.parametrize(
    ("recipe", "settings", "expected"),
    [
        ("digits", {}, "digits-seed0"),
        ("digits", {"noise__rate": "0.4"}, "digits-seed0"),
        ("digits", {"noise__rate": "0.25"}, "digits-uniform25-seed0"),
        ("digits:tiny", {"noise__kind": "flip"}, "digits-tiny-flip40-seed0"),
        ("digits", {"noise__kind": "none"}, "digits-no-noise-seed0"),
        ("cifar10-uniform40", {}, "cifar10-uniform40-seed0"),
        ("cifar10-uniform40", {"noise__rate": "0.2"}, "cifar10-uniform20-seed0"),
        ("cifar10-own-flip20", {"noise__rate": "0.125"}, "cifar10-own-flip12.5-seed0"),
        ("cifar10-uniform40", {"noise__kind": "human", "noise__human_column": "worse"}, "cifar10-human-worse-seed0"),
        ("folder", {"noise__kind": "uniform", "noise__rate": "0.3"}, "folder-uniform30-seed0"),
    ],
)
def test_the_noise_in_the_name(recipe: str, settings: dict[str, str], expected: str) -> None:
    assert name(recipe, **settings) == expected


def test_the_folder_is_below_runs() -> None:
    runs = resolve(Request(recipe="digits", methods=("ce",)))
    assert Start(runs, None, False, "cpu", False).default_output().parent == Path("runs")
