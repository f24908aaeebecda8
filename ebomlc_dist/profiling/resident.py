"""Memory as the machine counts it: resident pages of a process on a CPU, the allocator's bytes on a GPU.

Unlike `counters.PeakMemory` it sees what libraries hold for themselves, and storage that is resized, as FSDP's is.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from ebomlc_dist.errors import InputError
from ebomlc_dist.gpu import on_gpu
from ebomlc_dist.profiling.counters import peak_bytes

_PROCESS = Path("/proc/self")
# What proc(5) asks for.
_FORGET_PEAK = "5"


def peak_growth(work: Callable[[], object], device: torch.device) -> int:
    """The most bytes that this process holds in ``work`` beyond what it held before.

    On a CPU pages that stay resident after they were given back count as held before.

    Raises:
        InputError: a CPU of a system without Linux's /proc.
    """
    if on_gpu(device):
        return peak_bytes(work, device)
    before = _forget_peak()
    work()
    return _resident("VmHWM") - before


def _forget_peak() -> int:
    """Take the highest resident size back to the present one, in bytes."""
    try:
        (_PROCESS / "clear_refs").write_text(_FORGET_PEAK)
        return _resident("VmRSS")
    except OSError as error:
        raise InputError(f"resident memory cannot be read here ({error}); it takes Linux's /proc, or a GPU") from error


def _resident(key: str) -> int:
    """Bytes: VmRSS now, VmHWM at the highest."""
    lines = (_PROCESS / "status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{key}:"))
    return 1024 * int(line.split()[1])
