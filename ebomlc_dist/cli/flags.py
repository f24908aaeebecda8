"""Commands that describe a run: each of `FLAGS` as an option, with ``[RECIPE]``, ``--config`` and ``--set``.

A flag's value stays text until `recipes.settings` gives it its type, so that a flag, ``--set`` and a file are held to
the same rules. Declared here without torch, so that ``--help`` answers at once.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ebomlc_dist.cli.completion import OF_KEYS, Complete, among, keys, methods, recipes
from ebomlc_dist.recipes.flags import FLAGS, Flag

if TYPE_CHECKING:
    from ebomlc_dist.recipes.assemble import Request

_USUAL = {
    other.removeprefix("--"): flag.names[0].removeprefix("--")
    for flag in FLAGS
    for other in flag.names
    if other not in flag.shown
}


def describes_runs(panels: Mapping[str, tuple[str, ...]]) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """`describes_a_run` for a command that takes several recipes, and several seeds as ``--seed 0,1,2``.

    ``panels``: panel of ``--help`` → the command's own parameters in it.
    """
    return lambda command: _described(command, several=True, panels=panels)


def describes_a_run(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command ``[RECIPE]``, ``--config``, ``--set`` and a flag for each of `FLAGS`.

    The command's first parameter receives them all as one `Request`; its others are declared as usual, with
    annotations that are values, not text.
    """
    return _described(command, several=False, panels={})


def _described(
    command: Callable[..., int], *, several: bool, panels: Mapping[str, tuple[str, ...]]
) -> Callable[..., int]:
    @wraps(command)
    def wrapper(**given: Any) -> int:
        own = {name: given.pop(name) for name in list(given) if name in parameters}
        return command(_request(given, several), **own)

    signature = inspect.signature(command)
    own_parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()][1:]
    parameters = {parameter.name: parameter for parameter in own_parameters}
    for panel, names in panels.items():
        for name in names:
            get_args(parameters[name].annotation)[1].rich_help_panel = panel
    every = [*(_RUN | (_SEVERAL if several else {})).values(), *own_parameters]
    wrapper.__signature__ = signature.replace(parameters=every)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
    return wrapper


def usual_name(text: str) -> str:
    """Return the usual name of a flag, without its dashes, from any that is accepted: ``num_workers`` too."""
    text = text.replace("_", "-")
    return _USUAL.get(text, text)


def _request(given: dict[str, Any], several: bool) -> "Request":
    from ebomlc_dist.launch.accelerate_settings import launcher_settings
    from ebomlc_dist.recipes.assemble import Request
    from ebomlc_dist.recipes.settings import Setting

    recipe, *further = (given["recipe"] or [None]) if several else [given["recipe"]]
    seeds: tuple[str, ...] = ()
    if several and "," in (given["seed"] or ""):
        seeds = tuple(text.strip() for text in given.pop("seed").split(","))
    asked = {flag: given[_name(flag)] for flag in FLAGS if given.get(_name(flag)) not in (None, False)}
    settings = [Setting(flag.key, value if flag.metavar else "true", flag.names[0]) for flag, value in asked.items()]
    return Request(
        recipe=recipe,
        config_file=given["config"],
        methods=tuple(given["method"] or ()),
        tiny=given["tiny"],
        assignments=tuple(given["set"] or ()),
        flags=tuple(settings),
        launcher=launcher_settings(),
        further_recipes=tuple(further),
        seeds=seeds,
    )


def _name(flag: Flag) -> str:
    return flag.names[0].removeprefix("--").replace("-", "_")


def _parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _option(
    kind: Any,
    *names: str,
    help: str,
    metavar: str | None = None,
    panel: str | None = None,
    complete: Complete | None = None,
) -> Any:
    option = typer.Option(
        *names, help=help, metavar=metavar, show_default=False, rich_help_panel=panel, autocompletion=complete
    )
    return Annotated[kind, option]


def _of(flag: Flag) -> inspect.Parameter:
    name = _name(flag)
    if not flag.metavar:
        return _parameter(name, _option(bool, *flag.shown, help=flag.help, panel=flag.panel), default=False)
    complete = OF_KEYS.get(flag.key) or (among(lambda: flag.words) if flag.words else None)
    option = _option(str | None, *flag.shown, metavar=flag.metavar, help=flag.help, panel=flag.panel, complete=complete)
    return _parameter(name, option)


_RECIPE: dict[str, Any] = {"show_default": False, "metavar": "RECIPE", "autocompletion": among(recipes)}


_SEVERAL = {
    "recipe": _parameter(
        "recipe",
        Annotated[
            list[str] | None,
            typer.Argument(
                help="Named runs; default: digits. See `ebomlc list recipes`.",
                **_RECIPE,
            ),
        ],
    )
}
_RUN = {
    "recipe": _parameter(
        "recipe",
        Annotated[
            str | None,
            typer.Argument(help="A named run; default: digits. See `ebomlc list recipes`.", **_RECIPE),
        ],
    ),
    "method": _parameter(
        "method",
        _option(
            list[str] | None,
            "--method",
            metavar="NAME[,NAME…]",
            help="Methods, trained one after another; see `ebomlc list methods`.",
            panel="Training",
            complete=methods,
        ),
    ),
    **{_name(flag): _of(flag) for flag in FLAGS},
    "tiny": _parameter(
        "tiny", _option(bool, "--tiny", help="Run the recipe's small variant, which takes seconds."), default=False
    ),
    "config": _parameter(
        "config",
        _option(
            Path | None,
            "--config",
            metavar="FILE",
            help="Read settings from a JSON or YAML file.",
        ),
    ),
    "set": _parameter(
        "set",
        _option(
            list[str] | None,
            "--set",
            metavar="KEY=VALUE",
            help="Set any key; see `ebomlc show-config`.",
            complete=keys,
        ),
    ),
}
