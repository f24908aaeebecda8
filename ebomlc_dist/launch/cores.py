"""How many cores a process may use, and how many threads a person has chosen."""

import os

from ebomlc_dist.errors import InputError
from ebomlc_dist.launch.environment import local_world_size, under_launcher

VARIABLES = ("EBOMLC_NUM_THREADS", "OMP_NUM_THREADS")


def available_cores() -> int:
    """Return the cores that this process may use: its affinity and its container's quota are kept to."""
    from joblib import cpu_count

    return int(cpu_count())


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
