"""``ebomlc list``: what can be named. Of what is built in nothing is loaded; what packages register is."""

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ebomlc_dist import plugins
from ebomlc_dist.cli.output import print_json, print_table
from ebomlc_dist.errors import InputError

if TYPE_CHECKING:
    from ebomlc_dist.methods import MethodInfo

WIDTH = 100


class Kind(StrEnum):
    """What `list_known` lists."""

    METHODS = "methods"
    RECIPES = "recipes"
    DATASETS = "datasets"
    MODELS = "models"
    GRIDS = "grids"


_PLUGINS: dict[Kind, plugins.Kind] = {
    Kind.METHODS: "methods",
    Kind.MODELS: "models",
    Kind.DATASETS: "datasets",
}
_HEADINGS = ("trusted set", "networks", "cost", "")


def list_known(
    kind: Annotated[Kind, typer.Argument(help="What to list.", show_default=False)],
    method: Annotated[
        str | None,
        typer.Argument(help="With methods: one of them, to list its settings.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """List the methods, recipes, data sets, models or grids that can be named, those of plug-ins too."""
    if method is not None:
        if kind is not Kind.METHODS:
            raise InputError(f"`ebomlc list {kind.value}` takes no name; `ebomlc list methods {method}` is for methods")
        _list_settings(method, json)
    elif kind is Kind.METHODS:
        _list_methods(json)
    elif json:
        print_json(dict(_rows(kind)))
    else:
        print_table([kind.value, ""], _rows(kind), width=WIDTH)
    return 0


def _list_methods(json: bool) -> None:
    """Methods with what a person wants to know before choosing one."""
    from ebomlc_dist.methods import METHODS, method_info

    known = dict(METHODS)
    broken: dict[str, str] = {}
    for name in _registered(Kind.METHODS, METHODS):
        try:
            known[name] = method_info(name)
        except InputError as error:
            broken[name] = str(error)
    if json:
        print_json({name: _fields(info) for name, info in known.items()} | {n: {"error": e} for n, e in broken.items()})
        return
    rows = [
        *((name, *_row(name, info)) for name, info in known.items()),
        *((name, "", "", "", error) for name, error in broken.items()),
    ]
    print_table(["methods", *_HEADINGS], rows, width=WIDTH)
    print()
    for line in _notes(known):
        print(textwrap.fill(line, WIDTH, subsequent_indent="  "))


def _notes(known: "Mapping[str, MethodInfo]") -> list[str]:
    """What the table's columns mean, and the methods that cannot do what all others can."""
    notes = [
        "trusted set: whether the method needs one",
        "cost: of a step, in forward passes of its B noisy images; C is its number of trusted images",
    ]
    for what, field in (("--cuda-graph", "capturable"), ("--compile", "compilable")):
        limits: dict[str, list[str]] = {}
        for name, info in known.items():
            if (limit := getattr(info, field)) != "yes":
                limits.setdefault(limit, []).append(name)
        notes += [f"{what}: {limit} ({', '.join(names)})" for limit, names in limits.items()]
    return [*notes, "papers: `ebomlc list methods --json`; the settings of one: `ebomlc list methods NAME`"]


def _list_settings(name: str, json: bool) -> None:
    """One method and the keys that only it has, as ``--set method.KEY=VALUE`` takes them."""
    from ebomlc_dist.methods import method_class, method_info
    from ebomlc_dist.recipes.described import default_of, values_of

    plugins.named_by_a_person(name)
    info, fields = method_info(name), method_class(name).Config.model_fields
    rows = [
        (f"method.{key}", values_of(field.annotation), default_of(field), field.description or "")
        for key, field in fields.items()
        if key != "name"
    ]
    if json:
        settings = {key: {"values": v, "default": default, "help": h} for key, v, default, h in rows}
        print_json({name: _fields(info) | {"settings": settings}})
        return
    more = [("precision", info.precisions), ("CUDA graph", info.capturable), ("compile", info.compilable)]
    summary = [*zip((*_HEADINGS[:-1], "what"), _row(name, info), strict=True), *more, ("paper", info.paper)]
    print_table(["method", name], summary, width=WIDTH)
    for key, values, default, text in rows:
        print(f"\n{key}  (default {default})")
        print(textwrap.fill(f"{text} {values}", WIDTH, initial_indent="  ", subsequent_indent="  "))


def _fields(info: "MethodInfo") -> dict[str, Any]:
    return {key: value for key, value in asdict(info).items() if key != "target"} | {"units": info.units}


def _row(name: str, info: "MethodInfo") -> tuple[str, ...]:
    needed = "yes" if info.needs_clean else "no"
    return needed, " + ".join(info.networks), info.units, info.summary + _origin(Kind.METHODS, name)


def _rows(kind: Kind) -> list[tuple[str, str]]:
    if kind is Kind.RECIPES:
        from ebomlc_dist.recipes import RECIPES

        return [(name, info.summary) for name, info in RECIPES.items()]
    if kind is Kind.GRIDS:
        from ebomlc_dist.sweeps.grids import GRIDS

        return [(name, grid.summary) for name, grid in GRIDS.items()]
    if kind is Kind.DATASETS:
        from ebomlc_dist.data.datasets import DATASETS

        built_in = [(name, info.summary) for name, info in DATASETS.items()]
        return [*built_in, *_outside(kind, DATASETS, _loader)]
    from ebomlc_dist.models import MODELS, TORCHVISION, outside_model

    anything = (f"{TORCHVISION}<name>", "any image classifier of torchvision, such as torchvision/resnet50")
    built_in = [(name, info.summary) for name, info in MODELS.items()]
    return [*built_in, anything, *_outside(kind, MODELS, outside_model)]


def _loader(name: str) -> Any:
    from ebomlc_dist.data.datasets.outside_dataset import outside_loader

    return outside_loader(name)


def _outside(kind: Kind, built_in: dict[str, Any], loaded: Callable[[str], Any]) -> list[tuple[str, str]]:
    """A row for each name that packages register; one that cannot be had says why."""
    rows = []
    for name in _registered(kind, built_in):
        try:
            rows.append((name, plugins.first_line(loaded(name)) + _origin(kind, name)))
        except InputError as error:
            rows.append((name, str(error)))
    return rows


def _registered(kind: Kind, built_in: dict[str, Any]) -> list[str]:
    """Names from packages; those that are built in stand for what is built in."""
    return [name for name in plugins.registered(_PLUGINS[kind]) if name not in built_in]


def _origin(kind: Kind, name: str) -> str:
    found = plugins.registered(_PLUGINS[kind]).get(name, ())
    return f" ({found[0].package})" if found else ""
