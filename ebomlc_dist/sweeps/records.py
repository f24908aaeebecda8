"""What lies in a store: results, failures and listed cells, and their JSON, which may be a stranger's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ebomlc_dist.aliases import translated
from ebomlc_dist.errors import InputError

SCHEMA = 1
_NUMBER = (int, float)
# What readers rely on; everything else they look at as text.
_CONFIG: Mapping[str, tuple[type, ...]] = {
    "method.name": (str,),
    "data.dataset": (str,),
    "noise.kind": (str,),
    "noise.rate": _NUMBER,
    "seeds.seed": (int,),
}
_SUMMARY = (
    *("accuracy_last", "accuracy_best", "accuracy_last10_mean", "accuracy_at_best_validation", "train_seconds"),
    *("num_noisy", "num_clean", "num_test"),
)


@dataclass(frozen=True)
class Result:
    """A finished cell.

    Attributes:
        key: of its configuration.
        name: what a person calls it.
        config: all of the run's configuration that decides its result, dotted key → plain value.
        summary: the run's ``summary.json`` without its folder and matrix; accuracies in per cent, times in seconds.
        environment: the run's ``environment.json`` (versions, devices, threads) and whether it was a ``cuda_graph``.
        seconds: of this cell from its start to its end, data and evaluation included; of its last attempt alone.
        neighbours: cells that the sweep trained on the same machine at once, this one included.
    """

    key: str
    name: str
    config: dict[str, Any]
    summary: dict[str, Any]
    environment: dict[str, Any]
    seconds: float
    neighbours: int


@dataclass(frozen=True)
class Failure:
    """An attempt that failed.

    Attributes:
        reason: one line.
        code: 2 where it would fail again, 1 otherwise.
        when: wall time, seconds since 1970; for people.
    """

    reason: str
    code: int
    when: float


@dataclass(frozen=True)
class Listed:
    """A cell as a stored grid has it: the key, the name, and the configuration as dotted keys."""

    key: str
    name: str
    config: dict[str, Any]


def result_from(value: Any, source: str) -> Result:
    """A result from its JSON. Raises `InputError` naming ``source`` where it is none."""
    _check_schema(value, source)
    try:
        result = Result(**{name: value[name] for name in Result.__dataclass_fields__})
    except KeyError as error:
        raise _damaged(source, f"no {error}") from None
    _check_config(result.config, source)
    result = replace(result, config=_todays(result.config, source))
    if not isinstance(result.summary, dict) or not isinstance(result.environment, dict):
        raise _damaged(source, "summary and environment must be mappings")
    numbers = [result.summary[name] for name in _SUMMARY if result.summary.get(name) is not None]
    if not all(_is(number, _NUMBER) for number in [*numbers, result.seconds, result.neighbours]):
        raise _damaged(source, "a figure is no number")
    return result


def failure_from(value: Any, source: str) -> Failure:
    """A failed attempt from its JSON. Raises `InputError` naming ``source`` where it is none."""
    try:
        failure = Failure(**value)
    except TypeError:
        raise _damaged(source, "it is no failure of a cell") from None
    if not _is(failure.reason, (str,)) or not _is(failure.code, (int,)):
        raise _damaged(source, "it is no failure of a cell")
    return failure


def grid_document(name: str, cells: Sequence[Listed]) -> dict[str, Any]:
    """A grid's JSON: what all cells have in common once, and of each what differs."""
    first = cells[0].config if cells else {}
    common = {
        key: value
        for key, value in first.items()
        if all(key in cell.config and cell.config[key] == value for cell in cells)
    }
    rows = [
        {
            "key": cell.key,
            "name": cell.name,
            "config": {key: value for key, value in cell.config.items() if key not in common},
        }
        for cell in cells
    ]
    return {"schema": SCHEMA, "grid": name, "common": common, "cells": rows}


def listed_from(value: Any, source: str) -> list[Listed]:
    """A grid's cells from its JSON. Raises `InputError` naming ``source`` where it is none."""
    _check_schema(value, source)
    try:
        cells = [Listed(cell["key"], cell["name"], value["common"] | cell["config"]) for cell in value["cells"]]
    except (KeyError, TypeError) as error:
        raise _damaged(source, str(error)) from None
    for cell in cells:
        _check_config(cell.config, source)
        if not _is(cell.key, (str,)) or not _is(cell.name, (str,)):
            raise _damaged(source, "a cell has no key or no name")
    return [replace(cell, config=_todays(cell.config, source)) for cell in cells]


def _check_schema(value: Any, source: str) -> None:
    if not isinstance(value, dict) or "schema" not in value:
        raise _damaged(source, "no schema")
    if value["schema"] != SCHEMA:
        raise InputError(f"{source} has schema {value['schema']}, this version reads {SCHEMA}")


def _check_config(config: Any, source: str) -> None:
    if not isinstance(config, dict):
        raise _damaged(source, "no configuration")
    for key, kinds in _CONFIG.items():
        if not _is(config.get(key), kinds):
            raise _damaged(source, f"{key} is not there or of another kind")
    for key, value in config.items():
        if isinstance(value, dict) or (
            isinstance(value, list) and any(isinstance(item, list | dict) for item in value)
        ):
            raise _damaged(source, f"{key} is no plain value")


def _todays(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    try:
        return translated(config)
    except ValueError as error:
        raise _damaged(source, str(error)) from None


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _damaged(source: str, what: str) -> InputError:
    return InputError(f"{source} is damaged: {what}")
