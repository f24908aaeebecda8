"""Methods, models and data sets from outside this package, by their names. Nothing here imports torch.

A name is one of two things:

    package.module:Name        a reference: what a module of the person's own defines
    name                       what an installed package registers as an entry point of the group
                               ``ebomlc_dist.methods``, ``ebomlc_dist.models`` or ``ebomlc_dist.datasets``

A reference is imported because a person names it: on a command line, in a configuration file that they give, in Python.
One that only a stored run or model names is imported where ``EBOMLC_PLUGINS`` lists its package, since a folder may be
a stranger's. Whoever installs a package with entry points has allowed these.
"""

import importlib
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, Literal

from ebomlc_dist.errors import InputError, nearest

Kind = Literal["methods", "models", "datasets"]
ALLOWED = "EBOMLC_PLUGINS"
"""Environment variable: packages or modules, with commas, that stored runs may name."""

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_ONE = {"methods": "method", "models": "model", "datasets": "dataset"}
_named: set[str] = set()


@dataclass(frozen=True)
class Registered:
    """An entry point.

    Attributes:
        name: what it is called by.
        target: ``package.module:Name``.
        package: the installed distribution, with its version.
    """

    name: str
    target: str
    package: str


def is_reference(name: str) -> bool:
    """Whether a name has the form ``package.module:Name``."""
    return _REFERENCE.fullmatch(name) is not None


def named_by_a_person(*names: str) -> None:
    """Allow references that somebody has typed or written down to be imported in this process."""
    _named.update(filter(is_reference, names))


@cache
def registered(kind: Kind) -> dict[str, tuple[Registered, ...]]:
    """Name → the entry points of that name, by package. Only the packages' metadata are read."""
    found: dict[str, tuple[Registered, ...]] = {}
    for point in metadata.entry_points(group=f"ebomlc_dist.{kind}"):
        package = "" if point.dist is None else f"{point.dist.name} {point.dist.version}"
        own = Registered(point.name, point.value, package)
        # An installation may stand twice on the path.
        if own not in found.get(point.name, ()):
            found[point.name] = (*found.get(point.name, ()), own)
    return dict(sorted(found.items()))


def is_outside(kind: Kind, name: str) -> bool:
    """Whether a name is a reference or registered; whether it can be imported is another question."""
    return is_reference(name) or name in registered(kind)


def unknown(kind: Kind, name: str, known: Iterable[str], *, further: str = "", hint: str | None = None) -> InputError:
    """The error for a name that is neither built in nor registered nor a reference.

    Args:
        known: names that are built in.
        further: what else can be named, in words.
        hint: what may be meant; by default the nearest known name.
    """
    names = [*known, *registered(kind)]
    meant = nearest(name, names) if hint is None else hint
    return InputError(
        f"unknown {_ONE[kind]} '{name}'{meant}; known: {', '.join(names)}{further}, or your own as package.module:Name"
    )


def load(kind: Kind, name: str) -> Any:
    """What a name from outside stands for.

    Raises:
        InputError: two packages register the name, the module cannot be imported or fails at that, it has no such name,
            or only a stored run asks for it.
    """
    target = name if is_reference(name) else _target(kind, name)
    said = f"{_ONE[kind]} '{name}'" + ("" if target == name else f" ({target})")
    module_name, _, attribute = target.partition(":")
    if target == name:
        _check_allowed(said, name, module_name)
    module = _imported(said, module_name)
    found = module
    for word in attribute.split("."):
        try:
            found = getattr(found, word)
        except AttributeError:
            public = [each for each in dir(found) if not each.startswith("_")]
            raise InputError(f"{said}: {module_name} has no '{word}'{nearest(word, public)}") from None
    return found


def first_line(value: Any, default: str = "-") -> str:
    """The first line of a class's or a function's docstring, without its full stop."""
    lines = (value.__doc__ or "").strip().splitlines()
    return lines[0].strip().removesuffix(".") if lines else default


def permission(names: Iterable[str]) -> str:
    """What stands before a command that is to read a run with these names: an assignment, or nothing."""
    modules = dict.fromkeys(name.partition(":")[0] for name in names if is_reference(name))
    return f"{ALLOWED}={','.join(modules)} " if modules else ""


def wrong_kind(kind: Kind, name: str, what: str) -> InputError:
    """The error for what was imported and is not what it has to be."""
    return InputError(f"{_ONE[kind]} '{name}' {what}")


def failure(error: BaseException) -> str:
    """An exception of somebody else's code, in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _target(kind: Kind, name: str) -> str:
    points = registered(kind)[name]
    if len(points) > 1:
        packages = " and ".join(point.package for point in points)
        references = " or ".join(point.target for point in points)
        raise InputError(f"{_ONE[kind]} '{name}' is registered by {packages}; name the one you mean: {references}")
    return points[0].target


def _check_allowed(said: str, name: str, module_name: str) -> None:
    packages = [word.strip() for word in os.environ.get(ALLOWED, "").split(",") if word.strip()]
    if name in _named or any(module_name == own or module_name.startswith(f"{own}.") for own in packages):
        return
    raise InputError(
        f"{said} is code that a stored run names; where you trust it, allow it with {ALLOWED}={module_name}, "
        "or install it as a package with an entry point"
    )


def _imported(said: str, module_name: str) -> Any:
    top = module_name.partition(".")[0]
    try:
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            here = os.getcwd()  # noqa: PTH109 (an entry of sys.path)
            if error.name != top or here in sys.path:
                raise
            # As `python -m` does, but last: nothing that is installed is hidden by a file of the folder.
            sys.path.append(here)
            importlib.invalidate_caches()
            return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(
                f"{said}: there is no module {error.name}; install its package, or start in the folder it lies in"
            ) from None
        raise InputError(f"{said}: {module_name} cannot be imported: {failure(error)}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{said}: {module_name} cannot be imported: {failure(error)}") from error
