"""Freed tensors are kept for the next step on a CPU, unless the user has told glibc otherwise."""

import os
import platform
import subprocess
import sys

import pytest

from ebomlc_dist.distributed.runtime import ALLOCATOR_VARIABLES

STEPS, BLOCK = 20, 64 * 2**20
PROGRAM = f"""
import resource, torch
from ebomlc_dist.config import TrainConfig
from ebomlc_dist.distributed.runtime import Runtime
runtime = Runtime.start(TrainConfig(), "cpu")
def faults(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        torch.empty({BLOCK}, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults({STEPS})
print(faults({STEPS}))
runtime.close()
"""


def faults(**chosen: str) -> int:
    """Pages that the system had to provide while a run's process fills a block anew, so many times."""
    environment = {name: value for name, value in os.environ.items() if name not in ALLOCATOR_VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment | chosen, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked")
def test_a_block_is_not_asked_of_the_system_anew_unless_the_user_wants_it() -> None:
    given_back = faults(MALLOC_MMAP_THRESHOLD_="65536")
    assert given_back > STEPS
    assert faults() < given_back / 10
