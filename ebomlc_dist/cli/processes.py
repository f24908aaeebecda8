"""Several processes from one command: Accelerate's launcher as a child, its signals and its true exit code.

An exit code does not survive the launcher (2 and 75 both become 1), so the truth is read from ``status.json``.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import RunFolder, read_status

_FORWARDED = tuple(signal.Signals[f"SIG{name}"] for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2"))
_PR_SET_PDEATHSIG = 1
MEETING_S = 60.0


@dataclass(frozen=True)
class Processes:
    """How many processes train together, and where they meet.

    Attributes:
        total: on all machines together.
        machines: how many machines; each runs this same command with its own ``machine_rank``.
        machine_rank: which of them this one is, from 0.
        address, port: of the first machine; needed with several machines.
    """

    total: int
    machines: int = 1
    machine_rank: int = 0
    address: str | None = None
    port: int | None = None

    def check(self, device: str) -> None:
        """Raise `InputError` where this cannot be started."""
        if self.total < 1 or self.machines < 1 or self.total % self.machines:
            raise InputError(
                f"--num-processes {self.total} on --num-machines {self.machines}: give at least one process a machine, "
                "and equally many on each"
            )
        if not 0 <= self.machine_rank < self.machines:
            raise InputError(f"--machine-rank {self.machine_rank} is outside 0…{self.machines - 1} (--num-machines)")
        if self.machines > 1 and (self.address is None or self.port is None):
            raise InputError("several machines meet at the first one: give --main-process-ip and --main-process-port")
        gpus, here = _gpus(device), self.total // self.machines
        if gpus is not None and here > gpus:
            raise InputError(
                f"--num-processes {self.total} asks for {here} GPUs a machine and {gpus} are there; ask for fewer, or "
                "for --device cpu"
            )

    def meet(self, limit_s: float) -> None:
        """Wait for the other machines. Raises `InputError` for those that do not come within ``limit_s`` seconds."""
        from ebomlc_dist.distributed.machines import meet_machines

        assert self.address is not None
        assert self.port is not None
        meet_machines(self.address, self.port, self.machines, self.machine_rank, self.total, limit_s)

    def command(self, arguments: Sequence[str], module: str = "ebomlc_dist.cli") -> list[str]:
        """The launcher's command line for ``module`` with these arguments; it warns of values not given."""
        flags = {
            "num_processes": self.total,
            "num_machines": self.machines,
            "machine_rank": self.machine_rank,
            "main_process_ip": self.address,
            "main_process_port": self.port or 0,
            "mixed_precision": os.environ.get("ACCELERATE_MIXED_PRECISION", "no"),
            "dynamo_backend": "no",
        }
        launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
        for name, value in flags.items():
            launcher += [] if value is None else [f"--{name}", str(value)]
        return [*launcher, "--module", module, *arguments]


def launch(
    processes: Processes,
    arguments: Sequence[str],
    device: str,
    folders: Sequence[Path],
    module: str = "ebomlc_dist.cli",
    *,
    limit_s: float = MEETING_S,
) -> int:
    """Start the processes, wait for them, and return the exit code that is true.

    Args:
        processes: checked ones.
        arguments: of ``module``, the output folder among them.
        device: ``auto``, ``cpu`` or ``cuda``.
        folders: of the runs, in the order in which they are trained; none where there is no run to tell how it ended.
        module: what each process runs.
        limit_s: seconds that machines wait for each other, where there are several.

    Raises:
        InputError: the machines do not come together.
    """
    if processes.machines > 1:
        processes.meet(limit_s)
    environment = os.environ | {"PET_SIGNALS_TO_HANDLE": ",".join(number.name for number in _FORWARDED)}
    if _gpus(device) is None:
        environment["ACCELERATE_USE_CPU"] = "true"
    before = {folder: _version(folder) for folder in folders}
    ended = _wait(processes.command(arguments, module), environment)
    for folder in folders:
        code, reason = _truth(folder, before[folder])
        if code:
            if reason:
                print(f"ebomlc: {folder}: {reason} (the launcher ended with {ended})", file=sys.stderr)
            return code
    return 0 if folders or not ended else 1


def _gpus(device: str) -> int | None:
    """GPUs of this machine, or None where the run is to be on the CPU."""
    import torch

    return torch.cuda.device_count() if device != "cpu" and torch.cuda.is_available() else None


def _wait(command: list[str], environment: dict[str, str]) -> int:
    """Run a child in a session of its own, so that a signal reaches it once: through us."""
    early: list[int] = []
    child: subprocess.Popen | None = None

    def forward(number: int, frame: FrameType | None) -> None:
        if child is None:
            early.append(number)
        else:
            child.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        end = partial(_end_with_parent, os.getpid())
        child = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=end)
        for number in early:
            child.send_signal(number)
        return child.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _end_with_parent(parent: int) -> None:
    """In the child: ask Linux for a SIGTERM when the parent is gone, whatever ended it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def _version(folder: Path) -> tuple[int, int] | None:
    """Which writing of ``status.json`` lies there; every writing is a new file."""
    try:
        found = RunFolder(folder).status.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _truth(folder: Path, before: tuple[int, int] | None) -> tuple[int, str | None]:
    """The exit code by ``status.json``, and a line where nobody else has told the reason."""
    version = _version(folder)
    if version is None:
        return 1, "the run did not begin"
    status = read_status(folder)
    if status.state == "finished":
        return 0, None
    if version == before:
        return 1, "the run did not go on"
    if status.state == "running":
        return 1, f"a process died at step {status.step}; its log is in {RunFolder(folder).logs}"
    return status.code or 1, None
