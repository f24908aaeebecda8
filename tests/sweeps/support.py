"""A grid whose cells take a fraction of a second, and workers that can be killed at them."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ebomlc_dist.sweeps.attempt import Outcome
from ebomlc_dist.sweeps.cells import Cell, cells_of
from ebomlc_dist.sweeps.grid import Grid, grid_from
from ebomlc_dist.sweeps.run_cell import one_by_one, run_cell, side_by_side
from ebomlc_dist.sweeps.store import Failure, Result, Store
from ebomlc_dist.sweeps.worker import Ended, Options, Worker

METHODS = ("ce", "ce-oracle", "glc")


def small_grid(seeds: int, **changes: Any) -> Grid:
    """Three methods on 120 digits, three steps an epoch."""
    settings = {
        "data.noisy_size": 120,
        "train.global_noisy_batch_size": 40,
        "train.global_clean_batch_size": 10,
        "train.trackers": [],
    }
    value = {
        "recipes": ["digits:tiny"],
        "methods": list(METHODS),
        "seeds": list(range(seeds)),
        "set": settings,
    }
    return grid_from(value | changes, "the test", "small")


def small_cells(seeds: int = 1) -> list[Cell]:
    return cells_of(small_grid(seeds))


def fake_run(cell: Cell, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Stands for a training: figures that name the cell, and nothing written."""
    return {"accuracy_last": float(cell.flat["seeds.seed"]), "train_seconds": 2.0}, {"devices": ["cpu"]}


def result_of(cell: Cell, seconds: float = 1.0, **summary: Any) -> Result:
    return Result(cell.key, cell.name, cell.flat, summary, {"devices": ["cpu"]}, seconds, 1)


def opened(folder: Path) -> Store:
    store = Store(folder)
    store.open()
    return store


def fill(folder: Path, seeds: int, inside: Path, packed: int = 1) -> None:
    """A worker of `small_grid`, which notes where it is, and where it met another one that lives."""

    def watched(cells: Sequence[tuple[Cell, Path]], on_end: Callable[[Cell, Outcome], None]) -> None:
        for cell, _ in cells:
            mark = inside / cell.key
            if mark.exists() and is_alive(int(mark.read_text() or "0")):
                (inside / f"{cell.key}-doubled").touch()
            mark.write_text(str(os.getpid()))

        def note(cell: Cell, outcome: Outcome) -> None:
            (inside / cell.key).write_text("0")
            on_end(cell, outcome)

        if packed == 1:
            one_by_one(lambda cell, run: run_cell(cell, run, "cpu"), cells, note)
        else:
            side_by_side(cells, note, "cpu")

    options = Options(retries=1000, packed=packed)
    assert Worker(Store(folder), small_cells(seeds), watched, options).work() == Ended("empty")


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return pid != os.getpid() and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


FAILURE = Failure("it broke", 1, 0.0)
