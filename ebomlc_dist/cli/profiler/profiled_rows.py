"""What is to be measured: each ``NAME[:SETTING…]`` of ``--method`` as a complete run configuration."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args

from ebomlc_dist.config import RunConfig
from ebomlc_dist.errors import InputError
from ebomlc_dist.keys import keys_of
from ebomlc_dist.methods import METHODS, method_class, method_info
from ebomlc_dist.plugins import is_reference, named_by_a_person
from ebomlc_dist.recipes.assemble import Request, Resolved, resolve
from ebomlc_dist.recipes.settings import Setting, check_known

DEFAULT_RECIPE = "cifar10-uniform40"
DEFAULT_ROWS = ("ebomlc", "mlc:double_backward", "mlc:forward_mode", "mlc:finite_difference", "mlc-d", "ce")


@dataclass(frozen=True)
class Row:
    """One row of the report. ``settings``: dotted key → value as typed, for what sets it apart."""

    name: str
    config: RunConfig
    settings: dict[str, Any]


def requested_rows(request: Request) -> list[Row]:
    """The rows a request stands for. Raises `InputError` for one that cannot be run."""
    if request.recipe is None and request.config_file is None:
        request = replace(request, recipe=DEFAULT_RECIPE)
    texts = [text.strip() for given in request.methods for text in given.split(",")]
    if not texts and request.config_file is not None:
        return [_row(run.config.method.name, run, ()) for run in resolve(request)]
    texts = texts or list(DEFAULT_ROWS)
    for text in texts:
        method, _ = _parts(text)
        named_by_a_person(method)
        method_class(method)
        if texts.count(text) > 1:
            raise InputError(f"'{text}' is asked for twice (--method)")
    assigned = [Setting(text.partition("=")[0].strip(), None, "--set") for text in request.assignments]
    methods = tuple({_parts(text)[0] for text in texts})
    for setting in assigned:
        check_known(setting, methods)
    return [_requested(request, text) for text in texts]


def _parts(text: str) -> tuple[str, list[str]]:
    """The method's name, which may be a reference, ``package.module:Name``, and the words of its settings."""
    first, *words = text.split(":")
    reference = ":".join([first, *words[:1]])
    return (first, words) if first in METHODS or not is_reference(reference) else (reference, words[1:])


def _requested(request: Request, text: str) -> Row:
    method, words = _parts(text)
    own = tuple(_setting(method, word, text) for word in words)
    known = keys_of(method)
    # A setting of one method alone is none of the others' business.
    assignments = tuple(given for given in request.assignments if given.partition("=")[0].strip() in known)
    (run,) = resolve(replace(request, methods=(method,), assignments=assignments, flags=(*request.flags, *own)))
    return _row(text, run, own)


def _row(name: str, run: Resolved, own: tuple[Setting, ...]) -> Row:
    return Row(name, run.config, {setting.key: setting.value for setting in own})


def _setting(method: str, word: str, text: str) -> Setting:
    """``key=value``, the method's own keys without their section; or one word that only one of its settings takes."""
    key, equals, value = word.partition("=")
    if equals:
        return Setting(key if "." in key else f"method.{key}", value, f"--method {text}")
    choices = dict(_choices(method))
    fitting = [key for key, allowed in choices.items() if word in allowed]
    if len(fitting) == 1:
        return Setting(fitting[0], word, f"--method {text}")
    offered = "; ".join(f"{key.removeprefix('method.')}: {', '.join(allowed)}" for key, allowed in choices.items())
    raise InputError(
        f"'{word}' (--method {text}) is no one setting of {method}; give key=value, or a word of {offered}"
    )


def _choices(method: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for key, field in keys_of(method).items():
        words = tuple(word for word in get_args(field.annotation) if isinstance(word, str))
        if key.startswith("method.") and words:
            yield key, words


def needs_clean(rows: list[Row]) -> bool:
    """Whether some row trains on trusted images."""
    return any(method_info(row.config.method.name).needs_clean for row in rows)
