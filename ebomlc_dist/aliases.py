"""Keys and values of earlier versions, and what stands for them: one table for all that is read.

Run folders, files for ``--config``, ``--set``, grids and stored cells go through it. A key that was renamed has a row
``old: new``; one whose values changed has a function from its value to today's dotted keys.
"""

from collections.abc import Callable, Mapping
from typing import Any

Alias = str | Callable[[Any], Mapping[str, Any]]


def _settings(value: Any) -> Mapping[str, Any]:
    """``follow`` was by the corrector's answers on held-out images, which is ``corrected``."""
    return {"method.settings": "corrected" if value == "follow" else value}


ALIASES: Mapping[str, Alias] = {"method.settings": _settings}


def translated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys and values as they are called today.

    Raises:
        ValueError: a key stands there under its old and its new name.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        for name, told in _translated(key, value).items():
            if name in found or (name != key and name in values):
                raise ValueError(f"{name} is given twice, once by its old name; leave one of the two out")
            found[name] = told
    return found


def translated_sections(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's mapping of sections with keys and values as they are called today.

    Raises:
        ValueError: as `translated`.
    """
    sections = {name: section for name, section in values.items() if isinstance(section, Mapping)}
    flat = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    found: dict[str, Any] = {name: {} for name in sections}
    for key, value in translated(flat).items():
        name, _, field = key.partition(".")
        found.setdefault(name, {})[field] = value
    return {**values, **found}


def first_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys under their first names, which the names of stored cells are made of."""
    first = {new: old for old, new in ALIASES.items() if isinstance(new, str)}
    return {first.get(key, key): value for key, value in values.items()}


def _translated(key: str, value: Any) -> Mapping[str, Any]:
    alias = ALIASES.get(key, key)
    return {alias: value} if isinstance(alias, str) else alias(value)
