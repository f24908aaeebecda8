"""The flags that stand for a key of the configuration, as the fields declare them."""

import re
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from ebomlc_dist.fields import About, about
from ebomlc_dist.keys import sections


@dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
        key: dotted.
        metavar: stands for its value in ``--help``; a flag without takes no value and sets its key to true.
        help: of its field, with the words that it takes.
        names: all that are accepted, the usual one first.
        shown: those in ``--help``.
        panel: of ``--help``.
        words: the values it takes, where they are few.
    """

    key: str
    metavar: str
    help: str
    names: tuple[str, ...]
    shown: tuple[str, ...]
    panel: str
    words: tuple[str, ...] = ()


def _flags() -> tuple[Flag, ...]:
    return tuple(
        _flag(f"{section}.{name}", field, found, found.panel or kind.panel)
        for section, kind in sections()
        for name, field in kind.model_fields.items()
        if (found := about(field)) is not None and found.flags
    )


def _flag(key: str, field: FieldInfo, found: About, panel: str) -> Flag:
    words, help = _words(field.annotation), field.description or ""
    if not all(re.search(rf"\b{word}\b", help) for word in words):
        help = f"{help.removesuffix('.')}: {', '.join(words[:-1])} or {words[-1]}."
    return Flag(
        key, found.metavar or _metavar(field.annotation), help, (*found.flags, *found.also), found.flags, panel, words
    )


def _words(kind: Any) -> tuple[str, ...]:
    return tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else ()


def _metavar(kind: Any) -> str:
    """What stands for a value of this type; none for a switch."""
    if get_origin(kind) in (Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    names = {bool: "", int: "N", float: "NUMBER", Path: "FILE", str: "NAME"}
    return names.get(kind, "WORD")


FLAGS = _flags()
