"""Named run configurations. A recipe is one row here and a function that returns its configuration.

``NAME:tiny`` is the same run cut down until it takes seconds: the way to see that everything is in place.

The table itself imports no torch, so that ``ebomlc list recipes`` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ebomlc_dist.errors import InputError, nearest

if TYPE_CHECKING:
    from ebomlc_dist.config import RunConfig

# The settings of the paper's tables on each of the two CIFAR sets: noise kind and rate in per cent.
PAPER_SETTINGS = tuple(
    (dataset, kind, percent)
    for dataset in ("cifar10", "cifar100")
    for kind, percents in (("uniform", (0, 20, 40, 60, 80)), ("flip", (20, 40)))
    for percent in percents
)
TINY = ":tiny"


@dataclass(frozen=True)
class RecipeInfo:
    """One line of the table: where a recipe's function lives, its arguments, and the methods it trains."""

    target: str
    summary: str
    methods: tuple[str, ...] = ("ebomlc",)
    arguments: dict[str, Any] = field(default_factory=dict)
    own_frame: bool = False


@dataclass(frozen=True)
class Recipe:
    """A named run.

    Attributes:
        name: as asked for, ``:tiny`` included.
        summary: one line for a person who chooses.
        config: the complete configuration, with the first of ``methods``.
        methods: trained one after another on the same split, noise and seeds.
        own_frame: whether each method is trained as in its own paper (`MethodConfig.own_frame`).
    """

    name: str
    summary: str
    config: RunConfig
    methods: tuple[str, ...]
    own_frame: bool = False


RECIPES: dict[str, RecipeInfo] = {
    "digits": RecipeInfo(
        "digits:digits",
        "1,797 handwritten digits that come with scikit-learn, 40 % uniform noise: a minute on two cores",
        ("ebomlc", "ce"),
    ),
    **{
        f"{dataset}-{kind}{percent}": RecipeInfo(
            "cifar:paper",
            f"the paper's {dataset.upper().replace('CIFAR', 'CIFAR-')} with {percent} % {kind} noise, ResNet-32",
            arguments={"dataset": dataset, "kind": kind, "percent": percent},
        )
        for dataset, kind, percent in PAPER_SETTINGS
    },
    **{
        f"{dataset}-own-{kind}{percent}": RecipeInfo(
            "cifar:paper",
            f"{dataset}-{kind}{percent} with optimiser, batch and length of each method's own paper",
            arguments={"dataset": dataset, "kind": kind, "percent": percent},
            own_frame=True,
        )
        for dataset, kind, percent in PAPER_SETTINGS
    },
    **{
        f"{dataset}-quick-{kind}{percent}": RecipeInfo(
            "cifar:quick",
            f"{dataset}-{kind}{percent} for a CPU: ResNet-8 on a fifth of the images, minutes",
            arguments={"dataset": dataset, "kind": kind, "percent": percent},
        )
        for dataset, kind, percent in PAPER_SETTINGS
    },
    **{
        f"{dataset}-released-{kind}{percent}": RecipeInfo(
            "cifar:released",
            f"{dataset}-{kind}{percent} as the released research code ran it, for replication",
            ("ebomlc-released",),
            arguments={"dataset": dataset, "kind": kind, "percent": percent},
        )
        for dataset, kind, percent in PAPER_SETTINGS
    },
    "folder": RecipeInfo("folder:folder", "your own images: DIR/train/<class>/*, or CSV files (--data-dir DIR)"),
}


def recipe(name: str) -> Recipe:
    """The recipe of that name, ``NAME:tiny`` for its small variant. Raises `InputError` for an unknown name."""
    base = name.removesuffix(TINY)
    if base not in RECIPES:
        raise InputError(
            f"unknown recipe '{name}'{nearest(base, list(RECIPES))}; `ebomlc list recipes` shows all {len(RECIPES)}"
        )
    info = RECIPES[base]
    module, function = info.target.split(":")
    config = getattr(import_module(f"{__name__}.{module}"), function)(base, info.methods[0], **info.arguments)
    if name != base:
        config = import_module(f"{__name__}.tiny").tiny(config).model_copy(update={"recipe": name})
    # A tiny run has a length of its own.
    return Recipe(name, info.summary, config, info.methods, info.own_frame and name == base)
