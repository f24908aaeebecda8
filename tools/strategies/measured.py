"""The strategies by measurement: real steps of EBOMLC in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from ebomlc_dist.distributed import zero
from ebomlc_dist.errors import InputError, TrainingFault
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.launch.processes import Processes, launch
from ebomlc_dist.models.meta_device import check_inputs
from ebomlc_dist.profiling.memory import STRATEGIES, Size, Strategy, main_model_bytes
from ebomlc_dist.profiling.quartiles import Quartiles
from tools.strategies.models import MODELS, outlined

MODULE = "tools.strategies.rank"


@dataclass(frozen=True)
class Asked:
    """What is measured: a model, the side of its images, how many noisy and how many trusted ones a process, on which
    device, by which strategy (None: by each).
    """

    model: str
    image_size: int
    images: int
    device: Literal["auto", "cpu", "cuda"]
    strategy: Strategy | None = None


@dataclass(frozen=True)
class Measured:
    """One way to hold a main model, on the process with the most.

    Attributes:
        strategy: how the main model is held.
        processes: how many.
        again: whether blocks were computed again on the way back.
        computed: bytes of the main model by the paper count.
        peak: bytes at the peak of two steps beyond those before the model was built.
        sent: bytes of a step's collectives, by `Sent`.
        step_ms: milliseconds of a step.
    """

    strategy: Strategy
    processes: int
    again: bool
    computed: float
    peak: int
    sent: int
    step_ms: Quartiles


def ways(world_size: int) -> Iterator[tuple[Strategy, int, bool]]:
    """Strategy, processes and whether blocks are computed again; those of DeepSpeed where that is installed."""
    yield "replicated", 1, False
    yield "replicated", 1, True
    for strategy in STRATEGIES:
        if zero.installed() or not strategy.startswith("zero"):
            yield strategy, world_size, False
    yield "fsdp", world_size, True


def measure(asked: Asked, world_size: int, progress: Callable[[str], None]) -> list[Measured]:
    """Every way, one after another.

    Raises:
        InputError: an unknown model, images that it does not take, one process, or more GPUs than there are.
        TrainingFault: the processes did not end well; they have said why.
    """
    if asked.model not in MODELS:
        raise InputError(f"--measure {asked.model}: choose one of {', '.join(MODELS)}")
    if world_size < 2:
        raise InputError(f"--num-processes {world_size}: a model is spread over 2 or more")
    Processes(world_size).check(asked.device)
    outline = outlined(asked.model)
    check_inputs(outline, asked.model, (3, asked.image_size, asked.image_size))
    size = Size.of(outline)
    # Blocks go back to the system when they are freed, and the peak is that of what is held.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "65536")
    found = []
    for strategy, processes, again in ways(world_size):
        if asked.strategy not in (None, strategy):
            continue
        progress(f"{strategy} on {processes}" + (", blocks computed again" if again else ""))
        values = _in_processes(asked, strategy, processes, again)
        found.append(
            Measured(
                strategy,
                processes,
                again,
                main_model_bytes(strategy, processes, size, zero.BUCKET),
                max(values["peak"]),
                max(values["sent"]),
                Quartiles.of(values["step_ms"]),
            )
        )
    return found


def _in_processes(asked: Asked, strategy: Strategy, processes: int, again: bool) -> dict[str, list]:
    settings = {
        "model.name": asked.model,
        "data.image_size": asked.image_size,
        "train.strategy": strategy,
        "train.activation_checkpointing": again,
        "train.global_noisy_batch_size": asked.images * processes,
        "train.global_clean_batch_size": asked.images * processes,
    }
    with TemporaryDirectory() as folder:
        output = Path(folder) / "measured.json"
        pairs = (f"{key}={value}" for key, value in settings.items())
        words = [str(output), asked.device, str(MODELS[asked.model]), *pairs]
        if processes == 1:
            code = subprocess.run([sys.executable, "-m", MODULE, *words], check=False).returncode
        else:
            code = launch(Processes(processes), words, asked.device, [], MODULE)
        if code or not output.exists():
            raise TrainingFault(f"the steps of {asked.model} under {strategy} failed; what they said stands above")
        return read_json(output)
