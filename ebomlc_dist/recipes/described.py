"""What a key of a configuration takes and has by default, in words for a table."""

from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_NAMES: dict[Any, str] = {bool: "true, false", int: "whole number", float: "number", str: "text", Path: "path"}


def default_of(field: FieldInfo) -> str:
    """A field's default; empty where it has none."""
    default = field.get_default(call_default_factory=True)
    return "" if default is PydanticUndefined else in_words(default)


def values_of(kind: Any, quote: str = "") -> str:
    """What a field of this type takes. ``quote``: set around words that are typed as they stand."""
    if get_origin(kind) is Literal:
        return ", ".join(f"{quote}{value}{quote}" for value in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        inner = [values_of(part, quote) for part in get_args(kind) if part is not NoneType]
        return " or ".join([*inner, *(["none"] if NoneType in get_args(kind) else [])])
    if get_origin(kind) is tuple:
        return "list"
    if hasattr(kind, "__metadata__"):
        return values_of(kind.__origin__, quote)
    return _NAMES.get(kind, getattr(kind, "__name__", str(kind)))


def in_words(value: Any) -> str:
    """A value as a person would type it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return f"[{', '.join(in_words(part) for part in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)
