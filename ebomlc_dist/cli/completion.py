"""What a shell completes: names of recipes, methods, data sets, models and grids, words of flags, and keys."""

from collections.abc import Callable, Iterable

from ebomlc_dist.plugins import registered

Complete = Callable[[str], list[str]]


def among(words: Callable[[], Iterable[str]]) -> Complete:
    """Return a completion by words, which are looked up when they are asked for."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words() if word.startswith(incomplete)]

    return complete


def recipes() -> Iterable[str]:
    """Return the names of all recipes."""
    from ebomlc_dist.recipes import RECIPES

    return RECIPES


def datasets() -> Iterable[str]:
    """Return the names of all data sets, those that packages register too."""
    from ebomlc_dist.data.datasets import DATASETS

    return [*DATASETS, *registered("datasets")]


def models() -> Iterable[str]:
    """Return the names of our own models and those that packages register, and the beginning of torchvision's."""
    from ebomlc_dist.models import MODELS, TORCHVISION

    return [*MODELS, *registered("models"), TORCHVISION]


def grids() -> Iterable[str]:
    """Return the names of all grids."""
    from ebomlc_dist.sweeps.grids import GRIDS

    return GRIDS


def methods(incomplete: str) -> list[str]:
    """Complete the last name of a list ``a,b``, each method once."""
    from ebomlc_dist.methods import METHODS

    before, comma, last = incomplete.rpartition(",")
    known = dict.fromkeys([*METHODS, *registered("methods")])
    return [f"{before}{comma}{name}" for name in known if name.startswith(last) and name not in before.split(",")]


def keys(incomplete: str) -> list[str]:
    """Complete the key of ``key=value``; a method's own keys, which takes torch, once ``method.`` is there."""
    from ebomlc_dist.keys import common_keys, keys_of
    from ebomlc_dist.methods import METHODS

    known = dict.fromkeys(common_keys())
    if incomplete.startswith("method."):
        known |= dict.fromkeys(key for method in METHODS for key in keys_of(method))
    return [f"{key}=" for key in known if key.startswith(incomplete)]


OF_KEYS: dict[str, Complete] = {"data.dataset": among(datasets), "model.name": among(models)}
"""Key → completion of its flag, where the key's type does not say its words."""
