"""The same by measurement: real steps of EBOMLC in processes of their own, by each strategy that can be run here."""

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from ebomlc_dist.cli.processes import Processes, launch
from ebomlc_dist.errors import InputError, TrainingFault
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.models.outline import check_images
from ebomlc_dist.profiling.memory import Size, Strategy, main_model_bytes
from tools.main_model_memory.models import MODELS, outlined

MODULE = "tools.main_model_memory.rank"
RUN: tuple[Strategy, ...] = ("replicated", "fsdp")
# As few images as batch normalisation takes, so that activations weigh little.
IMAGES = 2


@dataclass(frozen=True)
class Measured:
    """One strategy: bytes a process, by the paper count, and at the peak of real steps on the process with the most."""

    strategy: Strategy
    computed: float
    measured: float


def measure(model: str, image_size: int, world_size: int, device: Literal["auto", "cpu", "cuda"]) -> list[Measured]:
    """Peak memory of each strategy of `RUN`, one after another.

    Raises:
        InputError: an unknown model, images that it does not take, one process, or more GPUs than there are.
        TrainingFault: the processes did not end well; they have said why.
    """
    if model not in MODELS:
        raise InputError(f"--measure {model}: choose one of {', '.join(MODELS)}")
    if world_size < 2:
        raise InputError(f"--num-processes {world_size}: a model is spread over 2 or more")
    processes, outline = Processes(world_size), outlined(model)
    processes.check(device)
    check_images(outline, model, 3, image_size, image_size)
    size = Size.of(outline)
    # Blocks go back to the system when they are freed, and the peak is that of what is held.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "65536")
    found = []
    for strategy in RUN:
        settings = {
            "model.name": model,
            "data.image_size": image_size,
            "train.strategy": strategy,
            "train.global_noisy_batch_size": IMAGES * world_size,
            "train.global_clean_batch_size": IMAGES * world_size,
        }
        with TemporaryDirectory() as folder:
            output = Path(folder) / "bytes.json"
            words = [str(output), device, str(MODELS[model]), *(f"{key}={value}" for key, value in settings.items())]
            if launch(processes, words, device, [], MODULE) or not output.exists():
                raise TrainingFault(f"the steps of {model} under {strategy} failed; what they said stands above")
            peak = max(read_json(output)["bytes"])
        found.append(Measured(strategy, main_model_bytes(strategy, world_size, size), peak))
    return found
