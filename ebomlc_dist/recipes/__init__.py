"""Named run configurations. A recipe is one row here and a function that returns its configuration.

``NAME:tiny`` is the same run cut down until it takes seconds: the way to see that everything is in place. The
``figure-N`` recipes are several runs each, with small variants of their own that take minutes.

The table itself imports no torch, so that ``ebomlc list recipes`` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ebomlc_dist.errors import InputError, nearest
from ebomlc_dist.recipes.paper_figures import FIGURE_RUNS, TINY_EPOCHS, Variant

if TYPE_CHECKING:
    from ebomlc_dist.config import RunConfig

# The settings of the paper's tables on each of the two CIFAR sets: noise kind and rate in per cent.
PAPER_SETTINGS = tuple(
    (dataset, kind, percent)
    for dataset in ("cifar10", "cifar100")
    for kind, percents in (("uniform", (0, 20, 40, 60, 80)), ("flip", (20, 40)))
    for percent in percents
)
# Beside them the label noise of people, and of a model: files that the user brings.
FAST_SETTINGS = (
    *(
        (dataset, f"{kind}{percent}", f"{percent} % {kind} noise", {"kind": kind, "rate": percent / 100})
        for dataset, kind, percent in PAPER_SETTINGS
    ),
    *(
        (dataset, name, f"labels from a file, {words}", {"kind": "human", "human_column": column})
        for dataset, name, words, column in (
            ("cifar10", "worst", "CIFAR-10N's worst", "worse_label"),
            ("cifar10", "aggregate", "CIFAR-10N's aggregate", "aggre_label"),
            ("cifar10", "instance40", "noise that depends on the image, 40 %", "label_noisy"),
            ("cifar100", "noisy", "CIFAR-100N's", "noisy_label"),
        )
    ),
)
TINY = ":tiny"


@dataclass(frozen=True)
class RecipeInfo:
    """One line of the table: where a recipe's function lives, its arguments, and the methods it trains.

    ``variants``: each method is trained once for each of them. ``tiny``: the small variant of a recipe that has one of
    its own.
    """

    target: str
    summary: str
    methods: tuple[str, ...] = ("ebomlc",)
    arguments: dict[str, Any] = field(default_factory=dict)
    own_frame: bool = False
    variants: tuple[Variant, ...] = ()
    tiny: RecipeInfo | None = None


@dataclass(frozen=True)
class Recipe:
    """A named run.

    Attributes:
        name: as asked for, ``:tiny`` included.
        summary: one line for a person who chooses.
        config: the complete configuration, with the first of ``methods``.
        methods: trained one after another on the same split, noise and seeds.
        own_frame: whether each method is trained as in its own paper (`MethodConfig.own_frame`).
        variants: each method is trained once for each of them; empty for once.
    """

    name: str
    summary: str
    config: RunConfig
    methods: tuple[str, ...]
    own_frame: bool = False
    variants: tuple[Variant, ...] = ()


def _setting(dataset: str, kind: str, percent: int) -> str:
    return f"{dataset.upper().replace('CIFAR', 'CIFAR-')}, {percent} % {kind} noise"


RECIPES: dict[str, RecipeInfo] = {
    "digits": RecipeInfo(
        "digits:digits",
        "1,797 handwritten digits, 40 % uniform noise: under a minute on 2 cores",
        ("ebomlc-s", "ebomlc", "ce"),
    ),
    **{
        f"{dataset}-{kind}{percent}": RecipeInfo(
            "cifar:paper",
            f"{_setting(dataset, kind, percent)}, ResNet-32, one frame for all methods",
            arguments={"dataset": dataset, "kind": kind, "percent": percent},
        )
        for dataset, kind, percent in PAPER_SETTINGS
    },
    **{
        f"{dataset}-own-{kind}{percent}": RecipeInfo(
            "cifar:paper",
            f"{_setting(dataset, kind, percent)}, each method trained as in its own paper",
            arguments={"dataset": dataset, "kind": kind, "percent": percent},
            own_frame=True,
        )
        for dataset, kind, percent in PAPER_SETTINGS
    },
    **{
        f"{dataset}-quick-{kind}{percent}": RecipeInfo(
            "cifar:quick",
            f"{_setting(dataset, kind, percent)} for a CPU: ResNet-8, a fifth of the images",
            arguments={"dataset": dataset, "kind": kind, "percent": percent},
        )
        for dataset, kind, percent in PAPER_SETTINGS
    },
    **{
        f"{dataset}-fast-{name}": RecipeInfo(
            "cifar:fast",
            f"all of {dataset.upper().replace('CIFAR', 'CIFAR-')} with {words}, in an hour of two CPU cores",
            ("ebomlc-s",),
            arguments={"dataset": dataset, "noise": noise},
        )
        for dataset, name, words, noise in FAST_SETTINGS
    },
    **{
        f"{dataset}-printed-{kind}{percent}": RecipeInfo(
            "cifar:printed",
            f"{_setting(dataset, kind, percent)}, no augmentation, frozen features",
            arguments={"dataset": dataset, "kind": kind, "percent": percent},
        )
        for dataset, kind, percent in PAPER_SETTINGS
    },
    **{
        f"{dataset}-released-{kind}{percent}": RecipeInfo(
            "cifar:released",
            f"{_setting(dataset, kind, percent)}, as the released research code ran it",
            ("ebomlc-released",),
            arguments={"dataset": dataset, "kind": kind, "percent": percent},
        )
        for dataset, kind, percent in PAPER_SETTINGS
    },
    **{
        f"figure-{number}": RecipeInfo(
            "cifar:paper",
            f"figure {number}: {runs.shows}",
            runs.methods,
            {"dataset": "cifar10", "kind": "uniform", "percent": 40},
            variants=runs.variants,
            tiny=RecipeInfo(
                "digits:digits",
                f"figure {number} on the digits: minutes",
                runs.methods,
                {"epochs": TINY_EPOCHS},
                variants=runs.tiny_variants,
            ),
        )
        for number, runs in FIGURE_RUNS.items()
    },
    "features": RecipeInfo("features:features", "your own features: --features X.npy --labels y.csv", ("ebomlc-s",)),
    "folder": RecipeInfo(
        "folder:folder", "your own images: DIR/train/<class>/*, or CSV files (--data-dir DIR)", ("ebomlc-s",)
    ),
    "folder-resnet50": RecipeInfo(
        "folder:large",
        "your own images at 224×224 with torchvision's ResNet-50 in bf16, for GPUs",
        ("ebomlc-s",),
        {
            "model": "torchvision/resnet50",
            "optim": {"main_lr": 0.1, "weight_decay": 1e-4, "milestones": (30 / 90, 60 / 90, 80 / 90)},
        },
    ),
    "folder-vit-b16": RecipeInfo(
        "folder:large",
        "your own images at 224×224 with torchvision's ViT-B/16 in bf16, for GPUs",
        ("ebomlc-s",),
        {
            "model": "torchvision/vit_b_16",
            "optim": {"main_lr": 0.03, "weight_decay": 1e-4, "schedule": "cosine"},
        },
    ),
}


def check_recipe(name: str) -> None:
    """Raise `InputError` for an unknown name; ``NAME:tiny`` is known where ``NAME`` is."""
    base = name.removesuffix(TINY)
    if base not in RECIPES:
        raise InputError(
            f"unknown recipe '{name}'{nearest(base, list(RECIPES))}; `ebomlc list recipes` shows all {len(RECIPES)}"
        )


def recipe(name: str) -> Recipe:
    """The recipe of that name, ``NAME:tiny`` for its small variant. Raises `InputError` for an unknown name."""
    check_recipe(name)
    base = name.removesuffix(TINY)
    whole = RECIPES[base]
    info = whole if name == base or whole.tiny is None else whole.tiny
    module, function = info.target.split(":")
    config = getattr(import_module(f"{__name__}.{module}"), function)(name, info.methods[0], **info.arguments)
    if name != base and info is whole:
        config = import_module(f"{__name__}.tiny").tiny(config)
    # A tiny run has a length of its own.
    return Recipe(name, info.summary, config, info.methods, info.own_frame and name == base, info.variants)
