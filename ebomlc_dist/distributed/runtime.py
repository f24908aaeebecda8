"""The processes of one run: Accelerate starts them and places devices; everything else asks this file.

Models are not wrapped: the engine reduces sums itself (see `communicator`), because a gradient averaged by a wrapper is
too late for a rule that is not linear in it.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator, InitProcessGroupKwargs

from ebomlc_dist.config import TrainConfig
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.distributed.determinism import make_deterministic
from ebomlc_dist.distributed.launcher import check_place, die_with_launcher, local_world_size, under_launcher
from ebomlc_dist.errors import InputError

T = TypeVar("T")
MESSAGE_BYTES = 2048


@dataclass
class Runtime:
    """This process's place among the others.

    Attributes:
        communicator: reductions with the step's own time limit.
        patient: the same ranks with the limit of a start-up, for what one rank may do while the others wait: reading
            data, a checkpoint, the folder.
        device: where this rank's tensors live.
        under_launcher: whether a launcher owns the exit code.
    """

    communicator: Communicator
    patient: Communicator
    device: torch.device
    rank: int
    world_size: int
    local_rank: int
    under_launcher: bool

    @classmethod
    def start(cls, config: TrainConfig, device: str = "auto") -> "Runtime":
        """Join the job. Raises `InputError` where the world is not the one that was asked for."""
        check_place()
        cpu = _choose_cpu(device)
        if config.deterministic:
            make_deterministic()
        die_with_launcher()
        limit = InitProcessGroupKwargs(timeout=timedelta(seconds=config.start_timeout_s))
        # FlatModule enters autocast, on plain modules; Accelerate's own precision acts on prepared ones only.
        accelerator = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=[limit])
        world_size = accelerator.num_processes
        group: dist.ProcessGroup | None = None
        if world_size > 1:
            group = cast(dist.ProcessGroup, dist.new_group(timeout=timedelta(seconds=config.step_timeout_s)))
        _set_threads()
        rank = accelerator.process_index
        return cls(
            communicator=Communicator(accelerator.device, rank=rank, world_size=world_size, group=group),
            patient=Communicator(accelerator.device, rank=rank, world_size=world_size),
            device=accelerator.device,
            rank=rank,
            world_size=world_size,
            local_rank=accelerator.local_process_index,
            under_launcher=under_launcher(),
        )

    def apart(self) -> "Runtime":
        """The same place with reductions of its own, for one of several runs in this process, which is alone."""
        return replace(self, communicator=Communicator(self.device), patient=Communicator(self.device))

    @property
    def is_main(self) -> bool:
        """Whether this is the first rank: the one that writes and speaks."""
        return self.rank == 0

    def broadcast_text(self, text: str) -> str:
        """Rank 0's text on every rank."""
        return self.patient.broadcast_bytes(text.encode() if self.is_main else None).decode()

    def on_first_rank(self, work: Callable[[], Any]) -> Any:
        """The JSON value that ``work`` gives on rank 0, on every rank. An `InputError` there is raised everywhere."""
        answer = ""
        if self.is_main:
            try:
                answer = json.dumps({"value": work()})
            except InputError as error:
                answer = json.dumps({"error": str(error)})
        outcome = json.loads(self.broadcast_text(answer))
        if "error" in outcome:
            raise InputError(outcome["error"])
        return outcome["value"]

    def on_every_rank(self, work: Callable[[], T]) -> T:
        """``work`` on every rank; where it raises an `InputError` on one, that is raised on all, so that none waits."""
        result, message = None, ""
        try:
            result = work()
        except InputError as error:
            message = str(error)
        encoded = message.encode()[:MESSAGE_BYTES].ljust(MESSAGE_BYTES)
        every = self.patient.gather(torch.frombuffer(bytearray(encoded), dtype=torch.uint8).to(self.device))
        messages = [bytes(row.tolist()).decode(errors="replace").strip() for row in every.cpu()]
        for rank, text in enumerate(messages):
            if text:
                raise InputError(text if rank == 0 or self.world_size == 1 else f"rank {rank}: {text}")
        return cast(T, result)

    def check_alike(self, what: str, text: str) -> None:
        """Raise `InputError` on every rank where some rank's ``text`` differs from rank 0's, naming the first one."""
        digest = torch.tensor(list(hashlib.sha256(text.encode()).digest()), dtype=torch.uint8, device=self.device)
        every = self.patient.gather(digest)
        different = (every != every[0]).any(dim=1).nonzero().flatten().tolist()
        if different:
            raise InputError(
                f"rank {different[0]} has another {what} than rank 0; start every process with the same command, "
                "code and data"
            )

    def close(self) -> None:
        """Leave the job."""
        if dist.is_initialized():
            dist.destroy_process_group()


def _choose_cpu(device: str) -> bool:
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device is there (--device cuda); use --device cpu or auto")
    wants_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    return device == "cpu" or not torch.cuda.is_available() or (device == "auto" and wants_cpu)


def _set_threads() -> None:
    """Share the cores between this machine's processes.

    The launcher exports OMP_NUM_THREADS=1 where nobody chose a number, which leaves cores idle; any other number is a
    choice and stands. EBOMLC_NUM_THREADS is the way to choose 1 under a launcher.
    """
    chosen = os.environ.get("EBOMLC_NUM_THREADS")
    omp = os.environ.get("OMP_NUM_THREADS")
    if chosen is not None:
        torch.set_num_threads(int(chosen))
    elif omp is None or (omp == "1" and under_launcher()):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // local_world_size()))
