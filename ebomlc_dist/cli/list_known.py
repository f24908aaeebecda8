"""``ebomlc list``: what can be named, without loading any of it."""

import textwrap
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from ebomlc_dist.cli.output import print_json, print_table

WIDTH = 100


class Kind(StrEnum):
    """What `list_known` lists."""

    METHODS = "methods"
    RECIPES = "recipes"
    DATASETS = "datasets"
    MODELS = "models"
    GRIDS = "grids"


def list_known(
    kind: Annotated[Kind, typer.Argument(help="What to list.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """List the methods, recipes, data sets, models or grids that can be named."""
    if kind is Kind.METHODS:
        _list_methods(json)
        return 0
    rows = _rows(kind)
    if json:
        print_json(dict(rows))
    else:
        print_table([kind.value, ""], rows, width=WIDTH)
    return 0


def _list_methods(json: bool) -> None:
    """Methods with what a person wants to know before choosing one."""
    from ebomlc_dist.methods import METHODS

    if json:
        fields = {name: asdict(info) for name, info in METHODS.items()}
        print_json(
            {name: {key: value for key, value in row.items() if key != "target"} for name, row in fields.items()}
        )
        return
    rows = [
        (name, "yes" if info.needs_clean else "no", " + ".join(info.networks), info.units, info.summary)
        for name, info in METHODS.items()
    ]
    print_table(["methods", "trusted set", "networks", "cost", ""], rows, width=WIDTH)
    print()
    for line in _notes():
        print(textwrap.fill(line, WIDTH, subsequent_indent="  "))


def _notes() -> list[str]:
    """What the table's columns mean, and the methods that cannot do what all others can."""
    from ebomlc_dist.methods import METHODS

    notes = [
        "trusted set: whether the method needs one",
        "cost: of a step, in forward passes of a noisy batch of B images; C: trusted images in a step",
    ]
    for what, field in (("--cuda-graph", "capturable"), ("--compile", "compilable")):
        limits: dict[str, list[str]] = {}
        for name, info in METHODS.items():
            if (limit := getattr(info, field)) != "yes":
                limits.setdefault(limit, []).append(name)
        notes += [f"{what}: {limit} ({', '.join(names)})" for limit, names in limits.items()]
    return [*notes, "papers: `ebomlc list methods --json`"]


def _rows(kind: Kind) -> list[tuple[str, str]]:
    if kind is Kind.RECIPES:
        from ebomlc_dist.recipes import RECIPES

        return [(name, info.summary) for name, info in RECIPES.items()]
    if kind is Kind.GRIDS:
        from ebomlc_dist.sweeps.grids import GRIDS

        return [(name, grid.summary) for name, grid in GRIDS.items()]
    if kind is Kind.DATASETS:
        from ebomlc_dist.data.datasets import DATASETS

        return [(name, info.summary) for name, info in DATASETS.items()]
    from ebomlc_dist.models import MODELS, TORCHVISION

    anything = (f"{TORCHVISION}<name>", "any image classifier of torchvision, such as torchvision/resnet50")
    return [*((name, info.summary) for name, info in MODELS.items()), anything]
