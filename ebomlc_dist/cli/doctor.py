"""``ebomlc doctor``: whether this machine can do what a run asks of it, tried for real."""

import json as json_format
import os
import secrets
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from ebomlc_dist.cli.output import print_json, print_table

_WRITE_BYTES = 64 * 1024 * 1024
_RANKS_S = 120
_SIDE = 1024
_LEAST_SHARE = 0.6
"""Of the speed that as many whole, idle cores would have."""


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: its name.
        result: ``ok``, ``failed``, ``absent`` for what a run can do without, ``poor`` for what makes runs slow.
        what: what was seen, and what helps.
    """

    check: str
    result: Literal["ok", "failed", "absent", "poor"]
    what: str


def doctor(
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Folder where runs will be written.")] = Path(),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Check this machine: two processes, threads, GPUs, FFCV, the disk. Exit code 1 where a check failed."""
    checks: dict[str, Callable[[str], Finding]] = {
        "two ranks (gloo)": partial(_reduced, device="cpu"),
        "threads": _threads,
        "NCCL": _nccl,
        "FFCV": _ffcv,
        "disk": partial(_disk, folder=folder),
    }
    found = [_guarded(name, check) for name, check in checks.items()]
    if json:
        print_json([asdict(finding) for finding in found])
    else:
        print_table(["check", "result", ""], [[f.check, f.result, f.what] for f in found])
    return 1 if any(finding.result == "failed" for finding in found) else 0


def _guarded(name: str, check: Callable[[str], Finding]) -> Finding:
    try:
        return check(name)
    except Exception as error:  # whatever a broken installation raises is what is to be told
        line = str(error).strip().splitlines() or [type(error).__name__]
        return Finding(name, "failed", line[0])


def _nccl(name: str) -> Finding:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count < 2:
        return Finding(name, "absent", f"{count} GPU(s) here; two ranks need two")
    return _reduced(name, "cuda")


def _reduced(name: str, device: str) -> Finding:
    """Two processes by the launcher that runs use."""
    from ebomlc_dist.launch.processes import Processes

    environment = os.environ | ({"ACCELERATE_USE_CPU": "true"} if device == "cpu" else {})
    command = Processes(2).command([], module="ebomlc_dist.launch.allreduce_check")
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_RANKS_S, check=False)
    except subprocess.TimeoutExpired:
        return Finding(name, "failed", f"no answer within {_RANKS_S} s")
    lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    if ended.returncode or not lines:
        last = [line for line in ended.stderr.splitlines() if "Error" in line][:1]
        return Finding(name, "failed", last[0].strip() if last else f"the launcher ended with {ended.returncode}")
    answer = json_format.loads(lines[-1])
    speed = answer["bytes"] / 1e6 / (answer["milliseconds"] / 1000)
    if not answer["right"]:
        return Finding(name, "failed", "a sum over two ranks is wrong")
    return Finding(
        name, "ok", f"{answer['bytes'] / 1e6:.0f} MB reduced in {answer['milliseconds']:.1f} ms, {speed:.0f} MB/s"
    )


def _threads(name: str) -> Finding:
    import torch

    from ebomlc_dist.launch.cores import available_cores

    cores, chosen = available_cores(), torch.get_num_threads()
    matrix, seconds = torch.randn(_SIDE, _SIDE), {}
    try:
        for threads in sorted({1, cores}):
            torch.set_num_threads(threads)
            matrix @ matrix
            started = time.monotonic()
            for _ in range(3):
                matrix @ matrix
            seconds[threads] = (time.monotonic() - started) / 3
    finally:
        torch.set_num_threads(chosen)
    return _judged(name, cores, seconds[1] / seconds[cores])


def _judged(name: str, cores: int, gain: float) -> Finding:
    """What ``cores`` threads say of this machine that are ``gain`` times as fast as one."""
    found = f"{cores} core(s) for this process, {gain:.1f} times as fast as one"
    if gain >= _LEAST_SHARE * cores:
        return Finding(name, "ok", found)
    return Finding(
        name,
        "poor",
        f"{found}: other programs use them, or they are not whole cores; a run tries out how many threads are fastest, "
        "and EBOMLC_NUM_THREADS=N chooses",
    )


def _ffcv(name: str) -> Finding:
    from ebomlc_dist.data.loaders.ffcv_extra import has_ffcv

    if has_ffcv():
        return Finding(name, "ok", "installed")
    return Finding(name, "absent", "not installed (the extra `ffcv`); other loaders do without it")


def _disk(name: str, folder: Path) -> Finding:
    """Write, flush and remove, by the layer that runs write with."""
    from ebomlc_dist.files.durable import create_file

    probe = folder / f".ebomlc-doctor-{secrets.token_hex(4)}"
    data = os.urandom(_WRITE_BYTES)
    try:
        started = time.monotonic()
        create_file(probe, data)
        seconds = time.monotonic() - started
    except OSError as error:
        return Finding(name, "failed", f"{folder.resolve()} cannot be written: {error.strerror or error}")
    finally:
        with suppress(OSError):
            probe.unlink()
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize / 1e9
    return Finding(
        "disk", "ok", f"{_WRITE_BYTES / 1e6 / seconds:.0f} MB/s flushed, {free:.0f} GB free in {folder.resolve()}"
    )
