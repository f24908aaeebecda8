"""The flags that stand for a key of the configuration: one row each, nothing else to keep in step.

A flag's value stays text until `recipes.settings` gives it its type, so that a flag, ``--set`` and a file are held to
the same rules. Declared here without torch, so that ``--help`` answers at once.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ebomlc_dist.recipes.assemble import Request


@dataclass(frozen=True)
class Flag:
    """One flag: its key, what stands for its value in ``--help``, its help, and its names, the usual one first.

    Without a metavar it takes no value and sets its key to true.
    """

    key: str
    metavar: str
    help: str
    names: tuple[str, ...]


FLAGS = (
    Flag("data.dataset", "NAME", "Data set; see `ebomlc list datasets`.", ("--dataset",)),
    Flag("data.data_dir", "DIR", "Where the data set lies, or is downloaded to.", ("--data-dir",)),
    Flag(
        "data.image_size",
        "PIXELS",
        "Side that images of a folder are resized to; auto follows images and model.",
        ("--image-size",),
    ),
    Flag("data.noisy_csv", "FILE", "path,label of the noisy images (data set folder).", ("--noisy-csv",)),
    Flag("data.clean_csv", "FILE", "path,label of the trusted images (data set folder).", ("--clean-csv", "--trusted")),
    Flag("data.test_csv", "FILE", "path,label of the test images (data set folder).", ("--test-csv",)),
    Flag("data.clean_size", "N", "Trusted images, stratified.", ("--clean-size",)),
    Flag("data.split", "FILE", "split.json of an earlier run, used again.", ("--split",)),
    Flag("data.loader", "NAME", "auto, resident, ffcv or dataloader.", ("--loader",)),
    Flag("data.num_workers", "N", "Threads (ffcv) or processes (dataloader) that read.", ("--num-workers",)),
    Flag("data.pack_dir", "DIR", "Where `ebomlc pack` writes and ffcv reads.", ("--pack-dir",)),
    Flag("noise.kind", "KIND", "none, uniform, flip, matrix or human.", ("--noise",)),
    Flag("noise.rate", "SHARE", "Share of noisy labels, 0 to 1.", ("--noise-rate",)),
    Flag("model.name", "NAME", "Main model; see `ebomlc list models`.", ("--model",)),
    Flag("model.norm", "KIND", "batch, sync or group.", ("--norm",)),
    Flag("train.epochs", "N", "Passes over the noisy images.", ("--epochs",)),
    Flag(
        "train.global_noisy_batch_size",
        "N",
        "Noisy images a step, all processes together.",
        ("--global-noisy-batch-size",),
    ),
    Flag("train.global_clean_batch_size", "N", "Trusted images a step, likewise.", ("--global-clean-batch-size",)),
    Flag("train.precision", "WORD", "no, bf16 or fp16.", ("--precision", "--mixed-precision")),
    Flag("seeds.seed", "N", "Seed of everything.", ("--seed",)),
    Flag("seeds.split", "N", "Seed of the trusted split alone.", ("--split-seed",)),
    Flag("seeds.noise", "N", "Seed of the noise alone.", ("--noise-seed",)),
    Flag("seeds.order", "N", "Seed of the order alone.", ("--order-seed",)),
    Flag("seeds.augmentation", "N", "Seed of the augmentation alone.", ("--augmentation-seed",)),
    Flag("seeds.initialisation", "N", "Seed of the initial weights alone.", ("--initialisation-seed",)),
    Flag("train.compile", "", "Compile the main models' passes.", ("--compile",)),
    Flag("train.cuda_graph", "", "Hold a whole step in one CUDA graph.", ("--cuda-graph",)),
    Flag(
        "train.activation_checkpointing",
        "",
        "Compute the main models' blocks again on the way back: less memory.",
        ("--activation-checkpointing",),
    ),
    Flag("train.strategy", "WORD", "replicated, or fsdp, zero1, zero2, zero3: main models spread.", ("--strategy",)),
    Flag("data.skip_unreadable", "", "Train without the images that cannot be read.", ("--skip-unreadable",)),
    Flag(
        "data.clean_from_noisy",
        "",
        "No trusted images: choose --clean-size of the noisy ones.",
        ("--clean-from-noisy",),
    ),
)


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
    from ebomlc_dist.distributed.launcher_settings import launcher_settings
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
