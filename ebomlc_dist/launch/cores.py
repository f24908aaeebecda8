"""How many cores a process may use, and how many threads a person has chosen."""

import math
import os
from contextlib import suppress
from pathlib import Path

from ebomlc_dist.errors import InputError
from ebomlc_dist.launch.environment import local_world_size, under_launcher

_CGROUP = Path("/sys/fs/cgroup")
VARIABLES = ("EBOMLC_NUM_THREADS", "OMP_NUM_THREADS")


def available_cores() -> int:
    """Return the cores that this process may use: its affinity and its container's quota are kept to."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return max(1, math.ceil(quota)) if quota < cores else cores


def _quota() -> float:
    """Cores that the control group of a container allows (cgroup v2, then v1); infinite without a limit."""
    with suppress(OSError, ValueError):
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return float(quota) / float(period)
    with suppress(OSError, ValueError):
        quota, period = ((_CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else math.inf
    return math.inf


def share_of_cores() -> int:
    """Return the cores of this machine for each of the job's processes on it, at least 1."""
    return max(1, available_cores() // local_world_size())


def chosen_threads() -> int | None:
    """Return the number of threads that the environment asks for, or None where nobody chose.

    A launcher exports OMP_NUM_THREADS=1 where nobody chose a number: there, EBOMLC_NUM_THREADS is the way to choose 1.

    Raises:
        InputError: a variable is no whole number above 0.
    """
    for name in VARIABLES:
        text = os.environ.get(name)
        if text is None or (name == "OMP_NUM_THREADS" and text == "1" and under_launcher()):
            continue
        # OpenMP takes a list, a number for each level of nesting.
        first = text.split(",")[0].strip()
        if not first.isdecimal() or int(first) < 1:
            raise InputError(f"{name}={text!r} is no number of threads; give a whole number above 0, or unset it")
        return int(first)
    return None
