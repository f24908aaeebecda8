"""The processes of one run and their devices. The only module that calls Accelerate for them.

Models are not wrapped: the engine reduces sums itself (see `communicator`), because a gradient averaged by a wrapper is
too late for a rule that is not linear in it.
"""

import ctypes
import hashlib
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator, InitProcessGroupKwargs

from ebomlc_dist.config import TrainConfig
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.errors import InputError, LoneError
from ebomlc_dist.gpu import on_gpu
from ebomlc_dist.launch.accelerate_settings import check_strategy_of_launcher, set_wrappers_aside
from ebomlc_dist.launch.cores import chosen_threads, share_of_cores
from ebomlc_dist.launch.environment import (
    check_place,
    die_with_launcher,
    launched_local_rank,
    launched_rank,
    launched_world_size,
    under_launcher,
)
from ebomlc_dist.launch.rendezvous import RankInfo, code_versions, meet_ranks, open_store
from ebomlc_dist.launch.watchdog import WaitCounter, Watchdog

T = TypeVar("T")
MESSAGE_BYTES = 2048
WATCHED_S = 5.0
# Numbers of <malloc.h>. Blocks of at most so many bytes come from the heap; so much of it may lie free at its end.
_MMAP_THRESHOLD, _MOST_FROM_HEAP = -3, 2**30
_TRIM_THRESHOLD, _MOST_FREE = -1, 2**31 - 1
ALLOCATOR_VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
"""Variables of glibc by which a user has chosen otherwise."""


@dataclass
class Runtime:
    """This process's place among the others.

    Attributes:
        communicator: reductions with the step's own time limit.
        patient: the same ranks with the limit of a start-up, for what one rank may do while the others wait: reading
            data, a checkpoint, the folder.
        device: where this rank's tensors live.
        under_launcher: whether a launcher owns the exit code.
        store: where the ranks met; None with one process.
        wait_counter: how far this rank has come.
        watchdog: names the rank that holds up the others; None with one process.
        before_leaving: what `close` does first, the latest first.
    """

    communicator: Communicator
    patient: Communicator
    device: torch.device
    rank: int
    world_size: int
    local_rank: int
    under_launcher: bool
    store: dist.Store | None = None
    wait_counter: WaitCounter = field(default_factory=WaitCounter)
    watchdog: Watchdog | None = None
    before_leaving: list[Callable[[], None]] = field(default_factory=list)

    @classmethod
    def start(cls, config: TrainConfig, device: str = "auto") -> "Runtime":
        """Join the job. Raises `InputError` where the number of processes is not the one that was asked for."""
        check_place()
        check_strategy_of_launcher(config.strategy)
        set_wrappers_aside()
        cpu = _choose_cpu(device)
        if config.deterministic:
            make_deterministic()
        else:
            # Every step has the same shapes: the quickest kernel is looked for once.
            torch.backends.cudnn.benchmark = True
        die_with_launcher()
        # Kept, as rank 0 serves it where no launcher does.
        store, infos = _meet("" if cpu else _gpu(), config.rendezvous_timeout_s)
        limit = InitProcessGroupKwargs(timeout=timedelta(seconds=config.start_timeout_s + WATCHED_S))
        # FlatNetwork enters autocast, on plain modules; Accelerate's own precision acts on prepared ones only.
        accelerator = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=[limit])
        world_size = accelerator.num_processes
        group: dist.ProcessGroup | None = None
        if world_size > 1:
            # The watchdog names who is late; the library's own limit only ends a wait that the watchdog has missed.
            limit_s = max(config.start_timeout_s, config.step_timeout_s) + WATCHED_S
            group = cast(dist.ProcessGroup, dist.new_group(timeout=timedelta(seconds=limit_s)))
        _set_threads()
        if cpu:
            keep_freed_memory()
        rank, wait_counter = accelerator.process_index, WaitCounter()
        place = {"rank": rank, "world_size": world_size}
        watchdog = (
            None if store is None else Watchdog(open_store(rank, WATCHED_S, joined=True), infos, rank, wait_counter)
        )
        return cls(
            communicator=Communicator(
                accelerator.device,
                **place,
                group=group,
                wait_counter=wait_counter,
                limit_s=config.step_timeout_s,
                first_limit_s=config.start_timeout_s,
            ),
            patient=Communicator(
                accelerator.device, **place, wait_counter=wait_counter, limit_s=config.start_timeout_s
            ),
            device=accelerator.device,
            rank=rank,
            world_size=world_size,
            local_rank=accelerator.local_process_index,
            under_launcher=under_launcher(),
            store=store,
            wait_counter=wait_counter,
            watchdog=watchdog,
        )

    def apart(self) -> "Runtime":
        """Return the same place with reductions of its own, for one of several runs in this process, which is alone."""
        return replace(self, communicator=Communicator(self.device), patient=Communicator(self.device))

    @property
    def is_main(self) -> bool:
        """Whether this is the first rank: the one that writes and speaks."""
        return self.rank == 0

    def broadcast_text(self, text: str) -> str:
        """Return rank 0's text on every rank."""
        return self.patient.broadcast_bytes(text.encode() if self.is_main else None).decode()

    def gather_texts(self, text: str) -> list[str]:
        """Return every rank's text of at most `MESSAGE_BYTES`, in rank order."""
        encoded = text.encode()[:MESSAGE_BYTES].ljust(MESSAGE_BYTES)
        every = self.patient.gather(torch.frombuffer(bytearray(encoded), dtype=torch.uint8).to(self.device))
        return [bytes(row.tolist()).decode(errors="replace").strip() for row in every.cpu()]

    def on_first_rank(self, work: Callable[[], Any]) -> Any:
        """Return the JSON value that ``work`` gives on rank 0, on every rank.

        An `InputError` there is raised everywhere.
        """
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
            message = str(error) if self.is_main else f"rank {self.rank} on {socket.gethostname()}: {error}"
        messages = self.gather_texts(message)
        if messages[0]:
            raise InputError(messages[0])
        for text in filter(None, messages):
            raise InputError(f"{text}; rank 0 does not have this problem: compare the machines")
        return cast(T, result)

    def check_alike(self, what: str, values: Mapping[str, Any]) -> None:
        """Raise `InputError` on every rank where some rank's ``values``, which fit JSON, are not rank 0's.

        The message names the first such rank, and the keys in which it differs.
        """
        text = json.dumps(values, sort_keys=True)
        digest = torch.tensor(list(hashlib.sha256(text.encode()).digest()), dtype=torch.uint8, device=self.device)
        if not bool((self.patient.gather(digest) != digest).any()):
            return
        first = json.loads(self.broadcast_text(text))
        own = json.loads(text)

        def compare() -> None:
            different = [key for key in sorted(first.keys() | own.keys()) if first.get(key) != own.get(key)]
            if different:
                found = "; ".join(f"{key} is {own.get(key)!r} here and {first.get(key)!r} there" for key in different)
                raise InputError(f"another {what} than rank 0: {found}; start all processes with the same command")

        self.on_every_rank(compare)

    def synchronise(self) -> None:
        """Wait for the device, which may itself wait for other ranks: the time limit of a step holds."""
        with self.communicator.waiting():
            wait_for_device(self.device)

    def close(self) -> None:
        """Leave the job."""
        while self.before_leaving:
            self.before_leaving.pop()()
        if self.watchdog is not None:
            self.watchdog.close()
        if dist.is_initialized():
            dist.destroy_process_group()


def wait_for_device(device: torch.device) -> None:
    """Wait until the device has finished this thread's work."""
    if on_gpu(device):
        torch.cuda.current_stream(device).synchronize()


def _meet(gpu: str, limit_s: float) -> tuple[dist.Store | None, Sequence[RankInfo]]:
    """Wait for all processes of the job, before the first collective needs them."""
    rank, world_size = launched_rank(), launched_world_size()
    if world_size == 1:
        return None, ()
    store = open_store(rank, limit_s)
    return store, meet_ranks(store, RankInfo.own(rank, gpu, code_versions()), world_size, limit_s)


def _gpu() -> str:
    """Return what names this process's GPU. Raises `InputError` where the machine has none left for it."""
    local_rank, count = launched_local_rank(), torch.cuda.device_count()
    if local_rank >= count:
        raise LoneError(
            f"process {local_rank} of this machine finds {count} GPU(s); start as many processes as there are GPUs, "
            "and look at CUDA_VISIBLE_DEVICES"
        )
    return str(torch.cuda.get_device_properties(local_rank).uuid)


def _choose_cpu(device: str) -> bool:
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("found no CUDA device (--device cuda); use --device cpu or auto")
    wants_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    return device == "cpu" or not torch.cuda.is_available() or (device == "auto" and wants_cpu)


def _set_threads() -> None:
    """Share the cores between this machine's processes, where nobody chose a number."""
    torch.set_num_threads(chosen_threads() or share_of_cores())


def make_deterministic() -> None:
    """Choose repeatable kernels on CPU and GPU, cuBLAS and NCCL included. Call it before the first CUDA call."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("NCCL_NVLS_ENABLE", "0")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def keep_freed_memory() -> None:
    """Ask glibc to keep freed blocks below 1 GiB. Nothing where the user has chosen, or there is no glibc.

    glibc maps each large block anew and gives it back when it is freed, so that a step spends a fifth of its time or
    more on having the same pages zeroed by the system again.
    """
    if any(name in os.environ for name in ALLOCATOR_VARIABLES):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, _MOST_FROM_HEAP)
    mallopt(_TRIM_THRESHOLD, _MOST_FREE)
