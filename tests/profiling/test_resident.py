"""Resident memory: what is held for a moment is seen, what was there before is not."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from ebomlc_dist.profiling.resident import peak_growth
from tests.support.pool import fresh_processes

CPU = torch.device("cpu")
MIB = 2**20
# Above the size from which the allocator always gives memory back to the system.
SIZES = (128 * MIB, 48 * MIB)
# Other pages that a process may touch meanwhile.
SLACK = 8 * MIB


def bytes_of(number: int) -> torch.Tensor:
    return torch.ones(number, dtype=torch.uint8)


def one_after_the_other() -> list[int]:
    bytes_of(1)
    return [peak_growth(lambda size=size: bytes_of(size), CPU) for size in SIZES]


def beside_what_is_held() -> list[int]:
    held = bytes_of(64 * MIB)
    return [peak_growth(held.max, CPU)]


def in_a_fresh_process(work: Callable[[], list[int]]) -> list[int]:
    """One that has no garbage of other tests to let go of meanwhile."""
    with ProcessPoolExecutor(1, mp_context=fresh_processes()) as pool:
        return pool.submit(work).result(120)


def test_the_peak_is_seen_though_it_is_gone_and_is_forgotten_by_the_next() -> None:
    assert in_a_fresh_process(one_after_the_other) == pytest.approx(list(SIZES), abs=SLACK)


def test_what_was_held_before_does_not_count() -> None:
    (growth,) = in_a_fresh_process(beside_what_is_held)
    assert growth < SLACK
