"""From a grid to its cells: one complete run configuration each, with the key it is stored under, in order."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from ebomlc_dist.aliases import first_names
from ebomlc_dist.config import RunConfig
from ebomlc_dist.engine.build import make_method
from ebomlc_dist.errors import InputError
from ebomlc_dist.keys import deciding
from ebomlc_dist.recipes.assemble import Request, Resolved, resolve
from ebomlc_dist.recipes.settings import Setting
from ebomlc_dist.sweeps.grid import Grid, Part
from ebomlc_dist.sweeps.store import Listed

# The paper's own claims first: with little time, what is there says most.
FIRST_METHODS = ("ebomlc", "mlc", "glc", "ce")
MIDDLE_NOISE_RATE = 0.4


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        key: hash of all that decides the result; the cell's name in the store.
        name: what a person calls it.
        config: complete and checked.
        flat: all of ``config`` that decides the result, as dotted keys and plain values.
    """

    key: str
    name: str
    config: RunConfig
    flat: dict[str, Any]

    @property
    def listed(self) -> Listed:
        """Return the cell as a store has it."""
        return Listed(self.key, self.name, self.flat)


def cells_of(grid: Grid, overrides: tuple[Setting, ...] = ()) -> list[Cell]:
    """Return the cells of a grid, each once, the most telling first.

    That is: first seeds before second ones; then `FIRST_METHODS` before the others; then by distance from the middle
    noise rate; then as the grid has them.

    Args:
        grid: the grid.
        overrides: settings in every cell, over those of the grid.

    Raises:
        InputError: a cell cannot be run.
    """
    found: dict[str, tuple[tuple[int, bool, float], Cell]] = {}
    for part in grid.parts:
        for recipe in part.recipes:
            for settings in part.settings():
                for rank, seed in enumerate(part.seeds):
                    request = _request(grid, part, recipe, settings | {"seeds.seed": seed}, overrides)
                    for run in resolve(request):
                        cell = _cell(run, recipe, settings)
                        found.setdefault(cell.key, (_weight(cell.config, rank), cell))
    return [cell for _, cell in sorted(found.values(), key=lambda item: item[0])]


def key_of(flat: dict[str, Any]) -> str:
    """Return the first 20 hexadecimal digits of the SHA-256 of `ebomlc_dist.keys.deciding`, as canonical JSON."""
    text = json.dumps(first_names(flat), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _request(grid: Grid, part: Part, recipe: str, settings: dict[str, Any], overrides: tuple[Setting, ...]) -> Request:
    own = (Setting(key, value, f"grid {grid.name}") for key, value in (part.set | settings).items())
    return Request(recipe=recipe, methods=part.methods or (), flags=(*own, *overrides))


def _cell(run: Resolved, recipe: str, settings: dict[str, Any]) -> Cell:
    config = run.config
    # That it does not go with its optimiser, say, is found before the first run.
    make_method(config)
    if config.train.precision == "auto":
        raise InputError(f"{recipe}: a sweep's runs say their precision themselves; choose no, bf16 or fp16, not auto")
    flat = deciding(config)
    chosen = [f"{key}={value}" for key, value in settings.items() if key in flat]
    name = " ".join([config.method.name, recipe, *chosen, f"seed {config.seeds.seed}"])
    return Cell(key_of(flat), name, config, flat)


def _weight(config: RunConfig, seed_rank: int) -> tuple[int, bool, float]:
    distance = abs(config.noise.rate - MIDDLE_NOISE_RATE)
    return seed_rank, config.method.name not in FIRST_METHODS, round(distance, 6)
