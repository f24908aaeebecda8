"""Commands that describe a run: each row of `FLAGS` as an option, beside ``[RECIPE]``, ``--config`` and ``--set``.

A flag's value stays text until `recipes.settings` gives it its type, so that a flag, ``--set`` and a file are held to
the same rules. Declared here without torch, so that ``--help`` answers at once.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ebomlc_dist.recipes.flags import FLAGS, Flag

if TYPE_CHECKING:
    from ebomlc_dist.recipes.assemble import Request


def describes_runs(command: Callable[..., int]) -> Callable[..., int]:
    """`describes_a_run` for a command that takes several recipes, and several seeds as ``--seed 0,1,2``."""
    return _described(command, several=True)


def describes_a_run(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command ``[RECIPE]``, ``--config``, ``--set`` and a flag for each row of `FLAGS`.

    The command's first parameter receives them all as one `Request`; its others are declared as usual, with
    annotations that are values, not text.
    """
    return _described(command, several=False)


def _described(command: Callable[..., int], *, several: bool) -> Callable[..., int]:
    @wraps(command)
    def wrapper(**given: Any) -> int:
        own = {name: given.pop(name) for name in list(given) if name in parameters}
        return command(_request(given, several), **own)

    signature = inspect.signature(command)
    own_parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()][1:]
    parameters = {parameter.name for parameter in own_parameters}
    every = [*(_RUN | (_SEVERAL if several else {})).values(), *own_parameters]
    wrapper.__signature__ = signature.replace(parameters=every)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
    return wrapper


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


def _option(kind: Any, *names: str, help: str, metavar: str | None = None) -> Any:
    return Annotated[kind, typer.Option(*names, help=help, metavar=metavar, show_default=False)]


_SEVERAL = {
    "recipe": _parameter(
        "recipe",
        Annotated[
            list[str] | None,
            typer.Argument(
                help="Named runs, digits by default; see `ebomlc list recipes`.",
                show_default=False,
                metavar="[RECIPE]...",
            ),
        ],
    )
}
_RUN = {
    "recipe": _parameter(
        "recipe",
        Annotated[
            str | None,
            typer.Argument(help="A named run, digits by default; see `ebomlc list recipes`.", show_default=False),
        ],
    ),
    "method": _parameter(
        "method",
        _option(list[str] | None, "--method", metavar="NAME[,NAME…]", help="Methods, trained one after another."),
    ),
    **{
        _name(flag): _parameter(_name(flag), _option(str | None, *flag.names, metavar=flag.metavar, help=flag.help))
        if flag.metavar
        else _parameter(_name(flag), _option(bool, *flag.names, help=flag.help), default=False)
        for flag in FLAGS
    },
    "tiny": _parameter("tiny", _option(bool, "--tiny", help="The recipe's small variant: seconds."), default=False),
    "config": _parameter(
        "config", _option(Path | None, "--config", metavar="FILE", help="JSON or YAML; a run's config.json as it is.")
    ),
    "set": _parameter(
        "set", _option(list[str] | None, "--set", metavar="KEY=VALUE", help="Any key; see `ebomlc show-config`.")
    ),
}
