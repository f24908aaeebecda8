"""Rows of what is promised beside speed: other loaders in a graph, memory, an exit after a fault, the same bits."""

import gc
import os
import socket
import subprocess
import sys
from collections.abc import Hashable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebomlc_dist.engine.cuda_graph import RecordedProgram
from ebomlc_dist.profiling.resident import peak_growth
from tools.gpu_check.measure import GRAPH, Steps, new_graph, stepping, timed
from tools.gpu_check.place import NotHeld, Place, Take

ROOT = Path(__file__).parents[2]
RECORDINGS, SETTLED = 10, 3
_MOST_GROWTH = 4 * 2**20
_EXIT_S = 30.0
_STEPS = 12
DETERMINISTIC = "train.deterministic=true"
ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "NCCL_NVLS_ENABLE": "0"}
"""What repeatable kernels need before the first call of CUDA."""


def promise_rows(place: Place) -> dict[str, Take]:
    """Those with repeatable kernels come last: nothing takes them back in a process."""
    graph, loader = f":{GRAPH}", "data.loader=dataloader:data.num_workers=2"
    words = f"ebomlc:{DETERMINISTIC}"
    return {
        "dataloader in a graph": partial(_loader_in_graph, Steps(f"ebomlc{graph}:{loader}")),
        "memory of ten recordings": partial(_recordings, Steps(f"ebomlc{graph}")),
        "exit after a fault with NCCL in a graph": _exit_after_fault,
        "deterministic, eager, twice": partial(_twice, Steps(words)),
        "deterministic, graph, twice": partial(_twice, Steps(f"{words}{graph}")),
        "deterministic, resized-crop-flip, twice": partial(_twice, Steps(f"{words}:data.augment=resized-crop-flip")),
    }


class Anew(RecordedProgram):
    """Records before every step."""

    def _capture_key_now(self) -> Hashable:
        return object()


def _loader_in_graph(steps: Steps, place: Place) -> dict[str, Any]:
    """The images come from worker processes, and the recorded step moves as the one on resident images does."""
    with stepping(steps, place) as (training, program, numbers):
        found = _moved(training.networks["main"].vector, program, numbers)
        figures = timed(lambda: program(next(numbers)), place, training.config.train.global_noisy_batch_size)
    resident = Steps(steps.words.replace("data.loader=dataloader", "data.loader=resident"))
    with stepping(resident, place) as (training, program, numbers):
        expected = _moved(training.networks["main"].vector, program, numbers)
    apart = float((found - expected).norm() / expected.norm().clamp_min(1e-30))
    if apart > 0.05:
        raise NotHeld(f"after {_STEPS} steps the images of the workers lead elsewhere: {apart:.3g} of the way")
    return figures | {"apart": apart}


def _moved(vector: Tensor, program: Any, numbers: Any) -> Tensor:
    before = vector.detach().clone()
    for _ in range(_STEPS):
        program(next(numbers))
    return (vector.detach() - before).cpu()


def _recordings(steps: Steps, place: Place) -> dict[str, Any]:
    """Bytes that are allocated after each of ten recordings; the last ones may not grow."""
    held: list[int] = []
    with stepping(steps, place) as (training, _, numbers):
        program = Anew(training, new_graph(place, training.runtime.device))
        for _ in range(RECORDINGS):
            program(next(numbers))
            gc.collect()
            held.append(_allocated(place))
    growth = held[-1] - held[SETTLED - 1]
    if growth > _MOST_GROWTH:
        raise NotHeld(f"{growth / 2**20:.1f} MiB more after recording {RECORDINGS} than after {SETTLED}")
    return {"held_mb": [value / 2**20 for value in held], "recordings": program.recordings}


def _allocated(place: Place) -> int:
    """Of the allocator on a GPU; a rehearsal has none, and looks at what a call that does nothing leaves."""
    if place.rehearsal:
        return peak_growth(lambda: None, torch.device("cpu"))
    # What a forgotten recording has given back lies in the cache until then.
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved()


def _exit_after_fault(place: Place) -> dict[str, Any]:
    """A run whose recorded step reduces over NCCL meets a fault; its process has to end by itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "tools.gpu_check.faulty_run", place.device, str(place.folder("promises") / "faulty")]
    variables = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    limit = _EXIT_S * place.patience
    try:
        ended = subprocess.run(
            words, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode().strip() if isinstance(error.stdout, bytes) else ""
        raise NotHeld(f"the process is still there after {limit:.0f} s; it said: {said or 'nothing'}") from None
    if ended.returncode != 0:
        last = (ended.stderr.strip() or "nothing").splitlines()[-1]
        raise NotHeld(f"exit code {ended.returncode}: {last}")
    return {"said": ended.stdout.strip().splitlines()}


def _twice(steps: Steps, place: Place) -> dict[str, Any]:
    """Two runs from their beginning have the same bits."""
    found = []
    for _ in range(2):
        with stepping(steps, place) as (training, program, numbers):
            found.append(_moved(training.networks["main"].vector, program, numbers))
    if not torch.equal(*found):
        different = float((found[0] != found[1]).float().mean())
        raise NotHeld(f"{100 * different:.1f} % of the parameters differ after {_STEPS} steps")
    return {"steps": _STEPS}
