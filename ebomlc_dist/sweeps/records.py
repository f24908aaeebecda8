"""What lies in a store: results, failures and listed cells, and their JSON, which may be a stranger's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictFloat, StrictInt, TypeAdapter, ValidationError

from ebomlc_dist.aliases import translated
from ebomlc_dist.errors import InputError, first_fault

_Record = TypeVar("_Record")

SCHEMA = 1


class _Needed(BaseModel):
    """What readers rely on in a configuration; everything else they look at as text."""

    model_config = ConfigDict(strict=True, extra="ignore")
    method: str = Field(alias="method.name")
    dataset: str = Field(alias="data.dataset")
    kind: str = Field(alias="noise.kind")
    rate: float = Field(alias="noise.rate")
    seed: int = Field(alias="seeds.seed")


class _Figures(BaseModel):
    """What readers rely on in a summary."""

    model_config = ConfigDict(strict=True, extra="ignore")
    accuracy_last: float | None = None
    accuracy_best: float | None = None
    accuracy_last10_mean: float | None = None
    accuracy_at_best_validation: float | None = None
    train_seconds: float | None = None
    num_noisy: int | None = None
    num_clean: int | None = None
    num_test: int | None = None


def _readable(config: dict[str, Any]) -> dict[str, Any]:
    _Needed.model_validate(config)
    nested = [key for key, value in config.items() if isinstance(value, dict)]
    if nested:
        raise ValueError(f"{nested[0]} is no plain value")
    return translated(config)


def _with_figures(summary: dict[str, Any]) -> dict[str, Any]:
    _Figures.model_validate(summary)
    return summary


_Config = Annotated[dict[str, Any], AfterValidator(_readable)]
_Summary = Annotated[dict[str, Any], AfterValidator(_with_figures)]


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
    config: _Config
    summary: _Summary
    environment: dict[str, Any]
    seconds: StrictFloat
    neighbours: StrictInt


@dataclass(frozen=True)
class Failure:
    """An attempt that failed.

    Attributes:
        reason: one line.
        code: 2 where it would fail again, 1 otherwise.
        when: wall time, seconds since 1970; for people.
    """

    reason: str
    code: StrictInt
    when: StrictFloat


@dataclass(frozen=True)
class Listed:
    """A cell as a stored grid has it: the key, the name, and the configuration as dotted keys."""

    key: str
    name: str
    config: _Config


def result_from(value: Any, source: str) -> Result:
    """Return a result from its JSON. Raises `InputError` naming ``source`` where it is none."""
    _check_schema(value, source)
    return _read(Result, {name: item for name, item in value.items() if name != "schema"}, source)


def failure_from(value: Any, source: str) -> Failure:
    """Return a failed attempt from its JSON. Raises `InputError` naming ``source`` where it is none."""
    return _read(Failure, value, source)


def grid_document(name: str, cells: Sequence[Listed]) -> dict[str, Any]:
    """Return a grid's JSON: what all cells share once, and for each what differs."""
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
    """Return a grid's cells from its JSON. Raises `InputError` naming ``source`` where it is none."""
    _check_schema(value, source)
    try:
        cells = [{**cell, "config": value["common"] | cell["config"]} for cell in value["cells"]]
    except (KeyError, TypeError) as error:
        raise _damaged(source, str(error)) from None
    return [_read(Listed, cell, source) for cell in cells]


def _check_schema(value: Any, source: str) -> None:
    if not isinstance(value, dict) or "schema" not in value:
        raise _damaged(source, "no schema")
    if value["schema"] != SCHEMA:
        raise InputError(f"{source} has schema {value['schema']}, this version reads {SCHEMA}")


def _read(kind: type[_Record], value: Any, source: str) -> _Record:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise _damaged(source, first_fault(error)) from None


def _damaged(source: str, what: str) -> InputError:
    return InputError(f"{source} is damaged: {what}")
