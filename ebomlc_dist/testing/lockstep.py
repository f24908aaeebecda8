"""The shard-wise control: one process goes over the shards, one thread each, and adds their sums in rank order."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from ebomlc_dist.methods.contract import Batch

T = TypeVar("T")
TIMEOUT_S = 60.0


class LockstepError(RuntimeError):
    """The shards do not ask for the same collectives."""


class Lockstep:
    """Sums deposited by ``world_size`` threads, added in rank order once all are there."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self._deposits: dict[int, dict[int, Tensor]] = {}
        self._changed = threading.Condition()

    def deposit(self, call: int, rank: int, buffer: Tensor) -> None:
        with self._changed:
            self._deposits.setdefault(call, {})[rank] = buffer
            self._changed.notify_all()

    def collect(self, call: int) -> Tensor:
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._deposits.get(call, {})) == self.world_size, TIMEOUT_S):
                raise LockstepError(f"collective {call + 1}: not every rank asks for it")
            buffers = self._deposits[call]
            total = buffers[0].clone()
            for rank in range(1, self.world_size):
                total += buffers[rank]
            return total


class LockstepReducer:
    """One thread's `Reducer`."""

    def __init__(self, lockstep: Lockstep, rank: int) -> None:
        self._lockstep = lockstep
        self._rank = rank
        self._calls = 0

    def mean_of_sums(self, sums: list[Tensor], count: int) -> "_Pending":
        buffer = torch.cat([s.reshape(-1) for s in sums] + [sums[0].new_full((1,), float(count))])
        call, self._calls = self._calls, self._calls + 1
        self._lockstep.deposit(call, self._rank, buffer)
        return _Pending(self._lockstep, call, [s.shape for s in sums])

    def assemble(self, values: Tensor, batch: Batch) -> "_Whole":
        whole = values.new_zeros((batch.global_size, *values.shape[1:]))
        whole[batch.offset : batch.offset + batch.count] = values[: batch.count]
        call, self._calls = self._calls, self._calls + 1
        self._lockstep.deposit(call, self._rank, whole)
        return _Whole(self._lockstep, call)


class _Whole:
    def __init__(self, lockstep: Lockstep, call: int) -> None:
        self._lockstep, self._call = lockstep, call

    def wait(self) -> list[Tensor]:
        return [self._lockstep.collect(self._call)]


class _Pending:
    def __init__(self, lockstep: Lockstep, call: int, shapes: list[torch.Size]) -> None:
        self._lockstep, self._call, self._shapes = lockstep, call, shapes

    def wait(self) -> list[Tensor]:
        total = self._lockstep.collect(self._call)
        means = total[:-1] / total[-1]
        pieces = means.split([shape.numel() for shape in self._shapes])
        return [piece.view(shape) for piece, shape in zip(pieces, self._shapes, strict=True)]


def over_shards(world_size: int, work: Callable[[int, LockstepReducer], T]) -> list[T]:
    """``work(rank, reducer)`` for every shard; results in rank order."""
    lockstep = Lockstep(world_size)
    with ThreadPoolExecutor(world_size) as threads:
        futures = [threads.submit(work, rank, LockstepReducer(lockstep, rank)) for rank in range(world_size)]
        return [future.result() for future in futures]
