"""What can be known about the launcher that started this process, before any process group exists."""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

import yaml

from ebomlc_dist.errors import InputError

# Variables by which torchrun and Accelerate hand a worker its place.
_PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
# What ``accelerate launch`` exports, all of it only there.
_BY_ACCELERATE = ("ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_BACKEND", "ACCELERATE_USE_CPU")
_PR_SET_PDEATHSIG = 1
AGENT = "ebomlc_dist.launch.agent"
"""The module that ``ebomlc train --num-processes`` starts as the launcher."""


def under_launcher() -> bool:
    """Return whether torchrun or ``accelerate launch`` started this process."""
    return "LOCAL_RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def whole_number(name: str, otherwise: str) -> int:
    """Return the whole number in a variable. Raises `InputError` where it holds anything else."""
    text = os.environ.get(name, otherwise)
    if not text.isdecimal():
        raise InputError(f"{name}={text!r} is no whole number; unset it, or start with `accelerate launch`")
    return int(text)


def launched_rank() -> int:
    """Return the global rank the launcher gave this process; 0 without one."""
    return whole_number("RANK", "0")


def launched_local_rank() -> int:
    """This process's number on its machine; 0 without a launcher."""
    return whole_number("LOCAL_RANK", "0")


def launched_world_size() -> int:
    """Return the number of processes of this job on all machines."""
    return whole_number("WORLD_SIZE", "1")


def local_world_size() -> int:
    """Return the number of processes of this job on this machine."""
    return whole_number("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1"))


def die_with_launcher() -> None:
    """Ask Linux to kill this worker when its launcher ends.

    Call it before the long imports; a launcher that died earlier than that is seen by the parent that took its place.
    """
    if not under_launcher():
        return
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if is_orphan():
        raise SystemExit(1)


def end_with_parent(parent: int) -> None:
    """In a child before its program begins: ask Linux for a SIGTERM when ``parent`` is gone, whatever ended it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def outlive_launcher() -> None:
    """Undo `die_with_launcher`: after Ctrl-C a launcher of one process ends before its worker.

    That ends by itself, a step and a checkpoint later.
    """
    if under_launcher():
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 0)


def silent_launcher() -> bool:
    """Return whether the launcher is `agent`, which says nothing when it is told to stop."""
    return AGENT in _parent_command()


def is_orphan() -> bool:
    """Return whether this worker's launcher is gone, so that init is its parent.

    In a container the launcher may be the first process; it is then Python.
    """
    started = "TORCHELASTIC_RUN_ID" in os.environ or all(name in os.environ for name in _BY_ACCELERATE)
    program = Path(next(iter(_parent_command()), "")).name
    return started and (os.getppid() == 1 or program == "systemd") and "python" not in program


def check_place() -> None:
    """Raise `InputError` where the number of processes is not the one that was asked for.

    ``accelerate launch --cpu --num_processes 2`` starts one process and says nothing, and a worker without its place
    would train alone beside its twins.
    """
    present = [name for name in _PLACE if name in os.environ]
    several = launched_world_size() > 1
    for name in present:
        whole_number(name, "0")
    if 0 < len(present) < len(_PLACE) and several:
        missing = ", ".join(name for name in _PLACE if name not in os.environ)
        raise InputError(f"the launcher set {', '.join(present)} but not {missing}; start with `accelerate launch`")
    absent = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if several and absent:
        raise InputError(
            f"WORLD_SIZE says {launched_world_size()} processes but {' and '.join(absent)} does not say where they "
            "meet; start with `accelerate launch`, or set it"
        )
    tasks = whole_number("SLURM_STEP_NUM_TASKS", "1")
    if tasks > 1 and "WORLD_SIZE" not in os.environ:
        raise InputError(
            f"srun started {tasks} tasks and each would train alone; give it one task a node and `ebomlc train` "
            "--num-processes, --num-machines and --machine-rank, as `ebomlc submit` does"
        )
    asked = _asked_processes(_parent_command())
    world = launched_world_size()
    if asked is not None and asked != world:
        raise InputError(
            f"{asked} processes were asked for but the launcher started {world}; on a machine without a GPU use "
            f"`ebomlc train --num-processes {asked}` or `accelerate launch --multi_gpu --num_processes {asked}` "
            "with ACCELERATE_USE_CPU=true"
        )


def _parent_command() -> list[str]:
    try:
        return Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _asked_processes(command: list[str]) -> int | None:
    """``--num_processes`` of an ``accelerate launch`` command line or of its config file, else None."""
    words = [
        word for argument in command for word in (argument.split("=", 1) if argument.startswith("--") else [argument])
    ]
    if "launch" not in words or not any("accelerate" in word for word in words):
        return None
    for flag in ("--num_processes", "--num-processes"):
        if flag in words[:-1]:
            value = words[words.index(flag) + 1]
            return int(value) if value.isdigit() else None
    if "--config_file" in words[:-1]:
        return _processes_of(Path(words[words.index("--config_file") + 1]))
    return None


def _processes_of(config: Path) -> int | None:
    try:
        value = yaml.safe_load(config.read_text())
    except (OSError, yaml.YAMLError):
        return None
    count = value.get("num_processes") if isinstance(value, dict) else None
    return count if isinstance(count, int) else None
