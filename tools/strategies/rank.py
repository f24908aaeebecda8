"""One process of a measurement, under a launcher: OUTPUT DEVICE NUM_CLASSES KEY=VALUE…"""

import sys
from pathlib import Path

import torch

from ebomlc_dist.cli.profiler.measure import make_subject
from ebomlc_dist.cli.profiler.profiled_data import random_images
from ebomlc_dist.cli.profiler.profiled_rows import DEFAULT_RECIPE, Row
from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.files.durable import write_json
from ebomlc_dist.profiling.clock import DeviceClock
from ebomlc_dist.profiling.resident import peak_growth
from ebomlc_dist.profiling.rounds import LEAST_ROUNDS, Subject
from ebomlc_dist.recipes.assemble import Request, resolve
from tools.strategies.sent import Sent

# Loads what libraries keep for themselves before anything is measured.
SMALL = "resnet8"
# The first makes the optimiser's state, the second is a step like any other.
STEPS = 2


def main(output: Path, device: str, num_classes: int, assignments: tuple[str, ...]) -> None:
    """Build a main model, take steps of it, and write every rank's figures."""
    config = _config(assignments)
    runtime = Runtime.start(config.train, device)
    try:
        dataset = random_images(config, num_classes)
        _warm(_config((*assignments, f"model.name={SMALL}")), dataset, runtime)
        held: list[Subject] = []
        peak = peak_growth(lambda: held.append(_warm(config, dataset, runtime)), runtime.device)
        (subject,) = held
        clock = DeviceClock(runtime.device)
        step_ms = [_time(subject, clock, runtime) for _ in range(LEAST_ROUNDS)]
        with Sent() as sent:
            subject.run()
        every = runtime.patient.gather(torch.tensor([peak, round(sent.num_bytes)], device=runtime.device))
        if runtime.is_main:
            peaks, bytes_sent = every.T.tolist()
            write_json(output, {"peak": peaks, "sent": bytes_sent, "step_ms": step_ms})
    finally:
        runtime.close()


def _config(assignments: tuple[str, ...]) -> RunConfig:
    (run,) = resolve(Request(recipe=DEFAULT_RECIPE, methods=("ebomlc",), assignments=assignments))
    return run.config


def _warm(config: RunConfig, dataset: NoisyDataset, runtime: Runtime) -> Subject:
    _, subject = make_subject(Row("ebomlc", config, {}), dataset, runtime, 0)
    for _ in range(STEPS):
        subject.run()
    return subject


def _time(subject: Subject, clock: DeviceClock, runtime: Runtime) -> float:
    runtime.patient.barrier()
    clock.settle()
    marks = [clock.mark()]
    subject.run()
    marks.append(clock.mark())
    return clock.between(marks)[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), tuple(sys.argv[4:]))
