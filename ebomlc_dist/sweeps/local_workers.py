"""Several workers on this machine: the same command once for each, as a child; one that is killed gets a successor."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType

from ebomlc_dist.launch.cores import available_cores
from ebomlc_dist.launch.environment import end_with_parent
from ebomlc_dist.launch.signals import SIGNALS
from ebomlc_dist.sweeps.store import Store

_LOOK_S = 0.5
_MAX_DEATHS = 5
_NEIGHBOURS = "EBOMLC_SWEEP_WORKERS"


def gather(
    command: Sequence[str], workers: int, store: Store, devices: Sequence[str], look: Callable[[], None]
) -> tuple[int, int]:
    """Run ``command`` as ``workers`` children until all of them have ended.

    Args:
        command: of one worker, program and all.
        workers: how many.
        store: where their logs go.
        devices: GPUs to share out, by what CUDA_VISIBLE_DEVICES calls them; none on a CPU.
        look: called twice a second.

    Returns:
        The exit code for a stop that somebody asked for, or 0; and the highest one of a worker.
    """
    asked: list[int] = []
    children: dict[int, subprocess.Popen] = {}

    def forward(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        for child in children.values():
            child.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in SIGNALS}
    try:
        deaths, done, codes = 0, store.done(), [0]
        for place in range(workers):
            children[place] = _start(command, place, workers, store, devices)
        for number in asked:
            for child in children.values():
                child.send_signal(number)
        while children:
            time.sleep(_LOOK_S)
            look()
            for place, child in list(children.items()):
                if child.poll() is None:
                    continue
                del children[place]
                if child.returncode < 0 and not asked:
                    # A cell that kills its workers runs out of attempts; this is for one that dies before any cell.
                    deaths = deaths + 1 if store.done() == done else 1
                    done = store.done()
                    if deaths <= _MAX_DEATHS:
                        children[place] = _start(command, place, workers, store, devices)
                        continue
                codes.append(child.returncode if child.returncode >= 0 else 1)
        return (130 if signal.SIGINT in asked else 75) if asked else 0, max(codes)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for child in children.values():
            child.kill()


def told_neighbours() -> int:
    """Return how many workers the `gather` that started this process has on this machine; 1 without one."""
    return int(os.environ.get(_NEIGHBOURS, "1"))


def visible_gpus(device: str) -> list[str]:
    """Return this machine's GPUs as CUDA_VISIBLE_DEVICES calls them; none where runs use the CPU."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return chosen.split(",") if chosen else [str(number) for number in range(torch.cuda.device_count())]


def log_file(store: Store, place: int) -> Path:
    """Return the log file of the worker at that place."""
    return store.logs / f"worker-{place}.log"


def _start(command: Sequence[str], place: int, workers: int, store: Store, devices: Sequence[str]) -> subprocess.Popen:
    environment = os.environ | {_NEIGHBOURS: str(workers)}
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = devices[place % len(devices)]
    if not {"EBOMLC_NUM_THREADS", "OMP_NUM_THREADS"} & environment.keys():
        environment["EBOMLC_NUM_THREADS"] = str(max(1, available_cores() // workers))
    with log_file(store, place).open("ab") as log:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=partial(end_with_parent, os.getpid()),
        )
