"""Workers that have no shared memory to hand a batch on in."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ebomlc_dist.data.loaders.workers import WorkerReader
from ebomlc_dist.errors import InputError


class Failing:
    """A ``DataLoader`` whose workers fail."""

    num_workers = 3

    def __init__(self, text: str) -> None:
        self._text = text

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError(self._text)
        yield


def reader(text: str) -> WorkerReader:
    made = WorkerReader(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), num_workers=0, pinned=False)
    made._loader = Failing(text)  # type: ignore[assignment]
    made.shares.append(SimpleNamespace(rows=lambda step: np.arange(2)))  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(
    "text",
    [
        "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  …\n"
        "RuntimeError: unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device (28)",
        "unable to write to file </torch_1_2>: No space left on device (28)",
        "DataLoader worker (pid 9) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
        "shared memory. Please try to raise your shared memory limit.",
    ],
)
def test_too_little_shared_memory_is_said_with_the_remedy(text: str) -> None:
    with pytest.raises(InputError, match=r"/dev/shm has .* MiB free.*--shm-size=8g.*--num-workers 0 instead of 3"):
        reader(text).read(0)


def test_another_fault_of_a_worker_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="worker 1 broke"):
        reader("worker 1 broke").read(0)
