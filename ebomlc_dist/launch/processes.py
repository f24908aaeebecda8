"""Several processes from one command: Accelerate's launcher as a child, and its true exit code.

An exit code does not survive the launcher (2 and 75 both become 1), so the truth is read from ``status.json``.
"""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.holder import taken_by_other
from ebomlc_dist.files.run_folder import START, RunFolder, read_status, write_status
from ebomlc_dist.launch.environment import AGENT, end_with_parent
from ebomlc_dist.launch.signals import SIGNALS, is_ignored

MEETING_S = 60.0
_TAKEN = "another process is running here: {}; choose another folder with `-o FOLDER`"
_FORWARDED = (*SIGNALS, signal.SIGQUIT)


class Requests:
    """The signals that a command has got since its first child began. At the end of the block all is as before.

    Attributes:
        first: the first one; None where there was none.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._early: list[int] = []
        self._child: subprocess.Popen | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Requests":
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def run(self, command: Sequence[str], environment: dict[str, str]) -> int:
        """Run a child in a session of its own, so that a signal reaches it once: through us. Returns its exit code."""
        # A request that came since the last child ended is this one's.
        self._child, self._early = None, [] if self.first is None else [int(self.first)]
        for number in _FORWARDED:
            if number not in self._previous and not is_ignored(number):
                self._previous[number] = signal.signal(number, self._forward)
        end = partial(end_with_parent, os.getpid())
        self._child = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=end)
        for early in self._early:
            self._child.send_signal(early)
        return self._child.wait()

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.first = self.first or signal.Signals(number)
        if self._child is None:
            self._early.append(number)
        else:
            self._child.send_signal(number)


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
        from ebomlc_dist.launch.rendezvous import meet_machines

        assert self.address is not None
        assert self.port is not None
        meet_machines(self.address, self.port, self.machines, self.machine_rank, self.total, limit_s)

    def command(self, arguments: Sequence[str], module: str = "ebomlc_dist.cli") -> list[str]:
        """Return the launcher's command line for ``module`` with these arguments; it warns of values not given."""
        flags = {
            "num_processes": self.total,
            "num_machines": self.machines,
            "machine_rank": self.machine_rank,
            "main_process_ip": self.address,
            "main_process_port": self.port or 0,
            "mixed_precision": os.environ.get("ACCELERATE_MIXED_PRECISION", "no"),
            "dynamo_backend": "no",
        }
        launcher = [sys.executable, "-m", AGENT, "launch", "--multi_gpu"]
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
    requests: Requests | None = None,
) -> int:
    """Start the processes, wait for them, and return the exit code that is true.

    Args:
        processes: checked ones.
        arguments: of ``module``, the output folder among them.
        device: ``auto``, ``cpu`` or ``cuda``.
        folders: of the runs, in the order in which they are trained; none where there is no run to tell how it ended.
        module: what each process runs.
        limit_s: seconds that machines wait for each other, where there are several.
        requests: entered already, where this is not the only start of a command.

    Raises:
        InputError: the machines do not come together.
    """
    if processes.machines > 1:
        processes.meet(limit_s)
    environment = dict(os.environ)
    if _gpus(device) is None:
        environment["ACCELERATE_USE_CPU"] = "true"
    environment[START] = start = secrets.token_hex(8)
    before = {folder: _version(folder) for folder in folders}
    with ExitStack() as stack:
        requests = requests or stack.enter_context(Requests())
        ended = requests.run(processes.command(arguments, module), environment)
        for folder in folders:
            # On other machines than the first no process has claimed anything.
            changed = _version(folder) != before[folder]
            other = None if processes.machine_rank else taken_by_other(folder, start, changed=changed)
            code, reason = (2, _TAKEN.format(other)) if other else _truth(folder, before[folder], requests.first)
            if code:
                if reason:
                    print(f"ebomlc: {folder}: {reason} (the launcher ended with {ended})", file=sys.stderr)
                return code
    return 0 if folders or not ended else 1


def _gpus(device: str) -> int | None:
    """Return the number of GPUs of this machine, or None where the run is to be on the CPU."""
    import torch

    return torch.cuda.device_count() if device != "cpu" and torch.cuda.is_available() else None


def _version(folder: Path) -> tuple[int, int] | None:
    """Return inode and time of ``status.json``, which change with every writing; None without the file."""
    try:
        found = RunFolder(folder).status.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _truth(folder: Path, before: tuple[int, int] | None, asked: signal.Signals | None) -> tuple[int, str | None]:
    """Return the exit code by ``status.json``, and the reason where no worker has printed it."""
    version = _version(folder)
    status = None if version is None else read_status(folder)
    if status is not None and status.state == "finished":
        return 0, None
    if status is None or version == before:
        what = "did not begin" if status is None else "did not go on"
        if asked is not None:
            return 130 if asked == signal.SIGINT else 75, f"the run {what}: asked to stop before ({asked.name})"
        return 1, f"the run {what}"
    if status.state == "running":
        # Whoever was to write it was killed before it had.
        reason = f"a process died at step {status.step}; its log is in {RunFolder(folder).logs}"
        with suppress(OSError, InputError):
            write_status(folder, state="failed", reason=reason, code=1, step=status.step)
        return 1, reason
    return status.code or 1, None
