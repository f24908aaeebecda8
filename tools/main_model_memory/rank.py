"""One process of a measurement, under a launcher: OUTPUT DEVICE NUM_CLASSES KEY=VALUE…"""

import sys
from pathlib import Path

import torch

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.files.durable import write_json
from ebomlc_dist.profiling.resident import peak_growth
from ebomlc_dist.recipes.assemble import Request, resolve
from tools.profile.data import random_images
from tools.profile.measure import make_subject
from tools.profile.rows import DEFAULT_RECIPE, Row

# Loads what libraries keep for themselves before anything is measured.
SMALL = "resnet8"
# The first makes the optimiser's state, the second is a step like any other.
STEPS = 2


def main(output: Path, device: str, num_classes: int, assignments: tuple[str, ...]) -> None:
    """Build a main model, take steps of it, and write every rank's peak growth in bytes."""
    config = _config(assignments)
    runtime = Runtime.start(config.train, device)
    try:
        dataset = random_images(config, num_classes)
        _steps(_config((*assignments, f"model.name={SMALL}")), dataset, runtime)
        peak = peak_growth(lambda: _steps(config, dataset, runtime), runtime.device)
        every = runtime.patient.gather(torch.tensor([peak], device=runtime.device))
        if runtime.is_main:
            write_json(output, {"bytes": every.flatten().tolist()})
    finally:
        runtime.close()


def _config(assignments: tuple[str, ...]) -> RunConfig:
    (run,) = resolve(Request(recipe=DEFAULT_RECIPE, methods=("ebomlc",), assignments=assignments))
    return run.config


def _steps(config: RunConfig, dataset: NoisyDataset, runtime: Runtime) -> None:
    _, subject = make_subject(Row("ebomlc", config, {}), dataset, runtime, 0)
    for _ in range(STEPS):
        subject.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), tuple(sys.argv[4:]))
