"""What becomes of freed tensors on a CPU: the process keeps them for the next step.

glibc maps each large block anew and gives it back when it is freed, so that a step spends a fifth of its time or more
on having the same pages zeroed by the system again.
"""

import ctypes
import os

# Numbers of <malloc.h>. Blocks of at most so many bytes come from the heap; so much of it may lie free at its end.
_MMAP_THRESHOLD, _MOST_FROM_HEAP = -3, 2**30
_TRIM_THRESHOLD, _MOST_FREE = -1, 2**31 - 1
CHOICES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
"""Variables of glibc by which a user has chosen otherwise."""


def keep_freed_memory() -> None:
    """Ask glibc to keep freed blocks below 1 GiB. Nothing where the user has chosen, or there is no glibc."""
    if any(name in os.environ for name in CHOICES):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, _MOST_FROM_HEAP)
    mallopt(_TRIM_THRESHOLD, _MOST_FREE)
