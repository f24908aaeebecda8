"""Cells, trained in this process: one after another, or several at once."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ebomlc_dist.audit.trusted import FOLDER, chooser
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.packed import Begin, Ended, train_packed
from ebomlc_dist.engine.run import steps_of, train
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.sweeps.attempt import Outcome
from ebomlc_dist.sweeps.cells import Cell

RunCell = Callable[[Cell, Path], tuple[dict[str, Any], dict[str, Any]]]


def run_cell(cell: Cell, folder: Path, device: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Begin the cell's run in ``folder``, or continue it from its last checkpoint. Returns summary and environment.

    Raises:
        InputError, TrainingFault, Stopped: as `engine.run.train` does.
    """
    with _runtime(cell, device) as runtime:
        data = chooser(cell.config, folder / FOLDER, runtime, quiet=True)
        summary = train(cell.config, folder, resume=True, quiet=True, dataset=data, runtime=runtime)
        return summary, _environment(folder)


def one_by_one(run: RunCell, cells: Sequence[tuple[Cell, Path]], on_end: Callable[[Cell, Outcome], None]) -> None:
    """Train cells in their folders one after another with ``run``, and tell how each has ended."""
    for cell, folder in cells:
        outcome: Outcome
        try:
            outcome = run(cell, folder)
        except Exception as error:
            outcome = error
        on_end(cell, outcome)


def side_by_side(cells: Sequence[tuple[Cell, Path]], on_end: Callable[[Cell, Outcome], None], device: str) -> None:
    """Train cells in their folders a step of each in turn, and tell how each has ended as soon as it has."""
    if not cells:
        return
    by_folder = {folder: cell for cell, folder in cells}

    def begun(cell: Cell, folder: Path) -> Begin:
        return lambda place, signals: steps_of(
            cell.config, folder, resume=True, quiet=True, runtime=place, signals=signals
        )

    def ended(found: Ended) -> None:
        if found.summary is not None:
            on_end(by_folder[found.folder], (found.summary, _environment(found.folder)))
        elif found.error is not None:
            on_end(by_folder[found.folder], found.error)

    with _runtime(cells[0][0], device) as runtime:
        train_packed([(folder, begun(cell, folder)) for cell, folder in cells], runtime, ended)


@contextmanager
def _runtime(cell: Cell, device: str) -> Iterator[Runtime]:
    runtime = Runtime.start(cell.config.train, device)
    try:
        yield runtime
    finally:
        runtime.close()
        # The next cell shall find the memory that this one found.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _environment(folder: Path) -> dict[str, Any]:
    return read_json(RunFolder(folder).environment)
