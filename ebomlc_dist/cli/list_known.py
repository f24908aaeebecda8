"""``ebomlc list``: what can be named, without loading any of it."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from ebomlc_dist.cli.output import print_json, print_table


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
        print_table([kind.value, ""], rows)
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
    headings = ["methods", "", "trusted set", "networks", "units a step", "precision", "CUDA graph", "compile", "paper"]
    rows = [
        (
            name,
            info.summary,
            "needed" if info.needs_clean else "not needed",
            " + ".join(info.networks),
            info.units,
            info.precisions,
            info.capturable,
            info.compilable,
            info.paper,
        )
        for name, info in METHODS.items()
    ]
    print_table(headings, rows)


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
