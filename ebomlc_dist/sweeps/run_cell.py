"""One cell, trained in this process."""

import gc
from pathlib import Path
from typing import Any

import torch

from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.run import train
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.sweeps.cells import Cell


def run_cell(cell: Cell, folder: Path, device: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Begin the cell's run in ``folder``, or continue it from its last checkpoint. Returns summary and environment.

    Raises:
        InputError, TrainingFault, Stopped: as `engine.run.train` does.
    """
    runtime = Runtime.start(cell.config.train, device)
    try:
        summary = train(cell.config, folder, resume=True, quiet=True, runtime=runtime)
        return summary, read_json(RunFolder(folder).environment)
    finally:
        runtime.close()
        # The next cell shall find the memory that this one found.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
