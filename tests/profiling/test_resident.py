"""Resident memory: what is held for a moment is seen, what was there before is not."""

import pytest
import torch

from ebomlc_dist.profiling.resident import peak_growth

CPU = torch.device("cpu")
MIB = 2**20
# Other pages that a process may touch meanwhile.
SLACK = 8 * MIB


def bytes_of(number: int) -> torch.Tensor:
    return torch.ones(number, dtype=torch.uint8)


def test_the_peak_is_seen_though_it_is_gone_and_is_forgotten_by_the_next() -> None:
    # Above the size from which the allocator always gives memory back to the system.
    for size in (128 * MIB, 48 * MIB):
        assert peak_growth(lambda size=size: bytes_of(size), CPU) == pytest.approx(size, abs=SLACK)


def test_what_was_held_before_does_not_count() -> None:
    held = bytes_of(64 * MIB)
    assert peak_growth(held.max, CPU) < SLACK
