"""From what was asked for to complete run configurations, each value with its source.

Precedence, the later wins: default, recipe, configuration file, the launcher's precision where it is not its default,
``--set``, flags. Several methods give one configuration each, alike in everything but the method; a recipe with
variants gives as many for each of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.datasets import DATASETS, num_classes_of
from ebomlc_dist.errors import InputError
from ebomlc_dist.keys import flatten, keys_of, nest, plain
from ebomlc_dist.methods import config_from_mapping, method_class
from ebomlc_dist.models import MODELS, outside_model
from ebomlc_dist.plugins import is_outside, named_by_a_person
from ebomlc_dist.recipes import TINY, Recipe, recipe
from ebomlc_dist.recipes.config_file import read_config_file
from ebomlc_dist.recipes.method_settings import own_frame, settings_of
from ebomlc_dist.recipes.paper_figures import Variant
from ebomlc_dist.recipes.settings import Setting, check_known, explain, in_todays_words, typed

DEFAULT_RECIPE, FEATURES_RECIPE = "digits", "features"


@dataclass(frozen=True)
class Request:
    """What a person asked for.

    Attributes:
        recipe: its name; None for ``digits``, for ``features`` where these are given, or for bare defaults beneath a
            configuration file.
        config_file: JSON or YAML, laid over the recipe.
        methods: instead of the recipe's; may hold ``a,b``.
        tiny: the recipe's small variant.
        assignments: ``key=value`` texts of ``--set``.
        flags: the flags that stand for a key.
        launcher: key → value that the launcher's configuration chose.
        further_recipes: the same again with each of them.
        seeds: the same again with each of them as ``seeds.seed``; none for the one that the settings give.
    """

    recipe: str | None = None
    config_file: Path | None = None
    methods: tuple[str, ...] = ()
    tiny: bool = False
    assignments: tuple[str, ...] = ()
    flags: tuple[Setting, ...] = ()
    launcher: Mapping[str, str] = field(default_factory=dict)
    further_recipes: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resolved:
    """One run's configuration.

    Attributes:
        config: complete and checked.
        sources: dotted key → where its value comes from.
        overrides: ``key=value`` for what ``--set`` and flags changed, as typed.
        variant: which of its recipe's variants it is; empty for a recipe without.
    """

    config: RunConfig
    sources: dict[str, str]
    overrides: list[str]
    variant: str = ""


def resolve(request: Request) -> tuple[Resolved, ...]:
    """The runs a request stands for: for each recipe and seed one a method and variant.

    Raises:
        InputError: anything that cannot be run, and recipes, seeds or methods that are asked for twice.
    """
    recipes = (request.recipe, *request.further_recipes)
    seeds: list[tuple[Setting, ...]] = [(Setting("seeds.seed", text, "--seed"),) for text in request.seeds]
    for what, names in (("recipe", recipes), ("seed", request.seeds)):
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{what} '{name}' is asked for twice")
    return tuple(
        run
        for recipe_name in recipes
        for seed in seeds or [()]
        for run in _of_one_recipe(replace(request, recipe=recipe_name, flags=(*request.flags, *seed)))
    )


def _of_one_recipe(request: Request) -> tuple[Resolved, ...]:
    base = _recipe(request)
    file_settings, file_methods = _file(request.config_file)
    methods, chooser = _methods(request, base, tuple(file_methods))
    overrides = in_todays_words([*assignments(request.assignments), *request.flags])
    launched = [Setting(key, value, "launcher") for key, value in request.launcher.items()]
    asked = [*file_settings, *launched, *overrides]
    for setting in asked:
        check_known(setting, methods)
    variants = base.variants if base is not None else ()
    runs = []
    for variant, method in product(variants or (None,), methods):
        own = in_todays_words(
            Setting(f"method.{key}", value, str(request.config_file))
            for key, value in file_methods.get(method, {}).items()
        )
        for setting in own:
            check_known(setting, (method,))
        runs.append(_run(method, chooser, base, variant, [*own, *asked], overrides))
    return tuple(runs)


def _run(
    method: str,
    chooser: str,
    base: Recipe | None,
    variant: Variant | None,
    asked: list[Setting],
    overrides: list[Setting],
) -> Resolved:
    values, fields = _defaults(method), keys_of(method)
    sources = dict.fromkeys(values, "default")
    apart = {} if variant is None else {key: value for key, value in variant.settings.items() if key in fields}
    if base is not None:
        varied = base if variant is None else replace(base, config=_varied(base.config, variant))
        for key, value in (_told(varied, method) | apart).items():
            values[key], sources[key] = value, f"recipe {base.name}"
        for setting in asked:
            if setting.key in apart:
                raise InputError(f"{setting.key} ({setting.source}) is what sets the runs of {base.name} apart")
    sources["method.name"] = chooser
    for setting in asked:
        if setting.key in fields:
            values[setting.key], sources[setting.key] = typed(setting, fields[setting.key]), setting.source
    try:
        nested = nest(values)
        nested["method"] = config_from_mapping(nested["method"])
        config = RunConfig.model_validate(nested)
    except ValidationError as error:
        raise InputError(explain(error)) from None
    # Everything here was asked for, by flags, settings or a file that was given.
    named_by_a_person(config.model.name, config.data.dataset)
    _check_outside(config)
    changed = [f"{s.key}={s.value}" for s in overrides if s.key in fields]
    return Resolved(config, sources, changed, variant.name if variant is not None else "")


def _check_outside(config: RunConfig) -> None:
    """Import a model and a data set from outside, so that what is wrong with them is said before data are read."""
    if config.model.name not in MODELS and is_outside("models", config.model.name):
        outside_model(config.model.name)
    if config.data.dataset not in DATASETS and is_outside("datasets", config.data.dataset):
        num_classes_of(config.data.dataset)


def _varied(config: RunConfig, variant: Variant) -> RunConfig:
    known = plain(config)
    return RunConfig.model_validate(nest(known | {k: v for k, v in variant.settings.items() if k in known}))


def _defaults(method: str) -> dict[str, Any]:
    return plain(RunConfig(method=config_from_mapping({"name": method})))


def _told(base: Recipe, method: str) -> dict[str, Any]:
    """What the recipe says beyond defaults for a run with ``method``; it speaks of its own method's settings alone."""
    own = base.config.method.name
    defaults = _defaults(own)
    told = {
        key: value
        for key, value in plain(base.config).items()
        if value != defaults[key] and (own == method or not key.startswith("method."))
    }
    return settings_of(method, base.config) | told | (own_frame(method) if base.own_frame else {})


def _recipe(request: Request) -> Recipe | None:
    name = request.recipe
    if name is None:
        if request.config_file is not None and request.tiny:
            raise InputError(
                "--tiny is a recipe's small variant; name the recipe before --config, as in `digits --config …`"
            )
        if request.config_file is not None:
            return None
        name = _recipe_of_data(request)
    return recipe(name + TINY if request.tiny and not name.endswith(TINY) else name)


def _recipe_of_data(request: Request) -> str:
    """The recipe where none is named: of features where the person gives some, as no other has a model for them."""
    asked = [*assignments(request.assignments), *request.flags]
    named = [setting.value for setting in asked if setting.key == "data.dataset"]
    given = any(setting.key == "data.features" for setting in asked)
    return FEATURES_RECIPE if named[-1:] == ["features"] or (given and not named) else DEFAULT_RECIPE


def _file(path: Path | None) -> tuple[list[Setting], dict[str, Mapping[str, Any]]]:
    """The file's settings, and its methods with their own values, in order."""
    if path is None:
        return [], {}
    values = read_config_file(path)
    given = values.pop("method", [])
    methods: dict[str, Mapping[str, Any]] = {}
    for item in given if isinstance(given, list) else [given]:
        entry = {"name": item} if isinstance(item, str) else item
        name = entry.pop("name", None) if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise InputError(f"method in {path} must be a name, a mapping with a name, or a list of these")
        if name in methods:
            raise InputError(f"method '{name}' stands twice in {path}")
        methods[name] = entry
    return in_todays_words(Setting(key, value, str(path)) for key, value in flatten(values).items()), methods


def _methods(request: Request, base: Recipe | None, in_file: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The methods to train, and who chose them."""
    asked = tuple(name.strip() for text in request.methods for name in text.split(","))
    if asked:
        methods, chooser = asked, "--method"
    elif in_file:
        methods, chooser = in_file, str(request.config_file)
    elif base is not None:
        methods, chooser = base.methods, f"recipe {base.name}"
    else:
        raise InputError(f"{request.config_file} names no method; add one there or by --method")
    named_by_a_person(*methods)
    for name in methods:
        method_class(name)
        if methods.count(name) > 1:
            raise InputError(f"method '{name}' is asked for twice ({chooser})")
    return methods, chooser


def assignments(texts: tuple[str, ...]) -> Iterator[Setting]:
    """What ``key=value`` texts of ``--set`` ask for. Raises `InputError` for another form."""
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set {text}: give key=value, such as --set optim.main_lr=0.05")
        yield Setting(key.strip(), value, "--set")
