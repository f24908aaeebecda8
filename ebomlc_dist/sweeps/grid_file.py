"""Grids that a person wrote: YAML, JSON, or Python that is run because its name was given."""

import importlib
import importlib.util
import os
import stat
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ebomlc_dist.errors import InputError
from ebomlc_dist.recipes.config_file import read_config_file
from ebomlc_dist.sweeps.grid import Grid, grid_from
from ebomlc_dist.sweeps.grids import named_grid

_FUNCTION = "grid"


def load_grid(word: str) -> Grid:
    """Return the grid that a name, a file or a function stands for.

    Args:
        word: a named grid; ``FILE.yaml`` or ``FILE.json``; ``FILE.py`` or ``package.module``, either with ``:function``
            where the function that returns the grid is not called ``grid``.

    Raises:
        InputError: there is no such grid, or it is none.
    """
    place, _, function = word.partition(":")
    path = Path(place)
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        return grid_from(read_config_file(path), place, path.stem)
    if path.suffix == ".py":
        return _call(_module_of(path), function or _FUNCTION, place, path.stem)
    if function:
        return _call(_import(place), function, place, place.rpartition(".")[2])
    return named_grid(word)


def _module_of(path: Path) -> ModuleType:
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or found.st_uid not in (os.geteuid(), 0):
        raise InputError(
            f"{path} would be run as a program and others may write to it; make it your own (chown, chmod go-w)"
        )
    name = f"ebomlc_grid_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses and the like look their own module up.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path} fails: {type(error).__name__}: {error}") from error
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"the grid's module {name} cannot be imported: {error}") from error


def _call(module: ModuleType, function: str, source: str, name: str) -> Grid:
    made: Any = getattr(module, function, None)
    if not callable(made):
        raise InputError(f"{source} has no function {function}() that returns a grid")
    try:
        value = made()
    except Exception as error:
        raise InputError(f"{function}() in {source} fails: {type(error).__name__}: {error}") from error
    return grid_from(value, source, name)
