"""Sums over samples, reduced over ranks and divided once: the only way a method's numbers leave a rank.

One flat buffer a call, so one collective: [sums … | count | stop]. Dividing the global sum by the global count keeps
unequal shards right; forming anything non-linear only from what comes back keeps every rank alike, bit for bit.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from ebomlc_dist.launch.watchdog import WaitCounter
from ebomlc_dist.methods.contract import Batch
from ebomlc_dist.numerics.network import Gradient, Summed


class Communicator:
    """All-reduces over one process group. With one process it does the same arithmetic without a collective.

    Attributes:
        num_collectives: collectives started so far, for tests and the profiler.
        num_bytes: bytes they carried.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        rank: int = 0,
        world_size: int = 1,
        group: dist.ProcessGroup | None = None,
        wait_counter: WaitCounter | None = None,
        limit_s: float = math.inf,
        first_limit_s: float | None = None,
    ):
        self.device = device
        self.rank = rank
        self.world_size = world_size
        self.group = group
        self.num_collectives = 0
        self.num_bytes = 0
        self._wait_counter = wait_counter or WaitCounter()
        self._limit_s = limit_s
        self._first_limit_s = limit_s if first_limit_s is None else first_limit_s
        self._under_way: list[dist.Work] = []
        self._stop = torch.zeros((), device=device)
        self._stop_sum = torch.zeros((), device=device) if world_size > 1 else self._stop
        self._counts: dict[tuple[int, torch.dtype], Tensor] = {}

    def waiting(self) -> AbstractContextManager[None]:
        """Return a block in which this rank may wait for the others: the time limit of this group holds in it.

        Until the first step is done that is ``first_limit_s``: another rank may compile, or open its connections.
        """
        first = self._wait_counter.step is None
        return self._wait_counter.waiting(self._first_limit_s if first else self._limit_s)

    def mean_of_sums(self, sums: Sequence[Gradient], count: int) -> "PendingMeans | OwnMeans":
        """Start the reduction; see `ebomlc_dist.methods.contract.Reducer`."""
        own = [s for s in sums if not isinstance(s, Summed)]
        dtype = own[0].dtype if own else torch.get_default_dtype()
        divisor = self._held_count(count, dtype)
        if self.world_size == 1:
            parts = [s.part if isinstance(s, Summed) else s.to(dtype) for s in sums]
            return OwnMeans(list(torch._foreach_div(parts, divisor)))
        buffer = torch.cat([s.reshape(-1).to(dtype) for s in own] + [divisor.view(1), self._stop.to(dtype).view(1)])
        return PendingMeans(self, buffer, sums, self._start(buffer))

    def _held_count(self, count: int, dtype: torch.dtype) -> Tensor:
        """``count`` on the device, 0-dim: made once, as it is the same in every step."""
        if (count, dtype) not in self._counts:
            self._counts[count, dtype] = torch.full((), float(count), dtype=dtype, device=self.device)
        return self._counts[count, dtype]

    def assemble(self, values: Tensor, batch: Batch) -> "PendingWhole":
        """Start putting the global batch together; see `ebomlc_dist.methods.contract.Reducer`.

        A sum of shares in their places, with zeros elsewhere: the values arrive bit for bit.
        """
        whole = values.new_zeros((batch.global_size, *values.shape[1:]))
        whole[batch.offset : batch.offset + batch.count] = values[: batch.count]
        return PendingWhole(self, whole, self._start(whole))

    def ask_to_stop(self) -> None:
        """Tell the other ranks, with the next reduction, that this one was asked to stop."""
        self._stop.fill_(1.0)

    @property
    def stop_asked(self) -> Tensor:
        """0-dim: how many ranks had asked to stop when the last reduction was made. The same on every rank."""
        return self._stop_sum

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over ranks, in place, blocking. Outside the step: evaluation, statistics, counters."""
        self.wait(self._start(tensor))
        return tensor

    def wait(self, handle: dist.Work | None) -> None:
        """Wait for a collective, where there is one."""
        if handle is not None:
            if handle in self._under_way:
                self._under_way.remove(handle)
            with self.waiting():
                handle.wait()

    def settle(self) -> None:
        """Wait for all collectives that were started and not waited for yet."""
        for handle in list(self._under_way):
            self.wait(handle)

    def gather(self, tensor: Tensor) -> Tensor:
        """(world_size, …): every rank's tensor of one shape, in rank order."""
        if self.world_size == 1:
            return tensor.unsqueeze(0)
        pieces = [torch.empty_like(tensor) for _ in range(self.world_size)]
        with self.waiting():
            dist.all_gather(pieces, tensor.contiguous(), group=self.group)
        return torch.stack(pieces)

    def gather_into(self, whole: Tensor, part: Tensor) -> None:
        """Every rank's ``part`` (P,) behind one another in ``whole`` (world_size · P,), in rank order."""
        if self.world_size == 1:
            whole.copy_(part)
            return
        with self.waiting():
            dist.all_gather_into_tensor(whole, part, group=self.group)

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Return rank 0's values of ``tensor`` on every rank, in place."""
        if self.world_size > 1:
            with self.waiting():
                dist.broadcast(tensor, 0, group=self.group)
        return tensor

    def broadcast_bytes(self, data: bytes | None) -> bytes:
        """Return rank 0's bytes on every rank; other ranks pass None. Nothing is unpickled."""
        if self.world_size == 1:
            assert data is not None
            return data
        size = torch.tensor([len(data) if data is not None else 0], dtype=torch.int64, device=self.device)
        self.broadcast(size)
        payload = torch.empty(int(size), dtype=torch.uint8, device=self.device)
        if data:
            payload.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        self.broadcast(payload)
        return payload.cpu().numpy().tobytes()

    def barrier(self) -> None:
        """Wait for every rank."""
        self.sum(torch.zeros(1, device=self.device)).cpu()

    def _start(self, buffer: Tensor) -> dist.Work | None:
        if self.world_size == 1:
            return None
        self.num_collectives += 1
        self.num_bytes += buffer.numel() * buffer.element_size()
        handle = dist.all_reduce(buffer, group=self.group, async_op=True)
        self._under_way.append(handle)
        return handle


class PendingWhole:
    """Values of a global batch on their way."""

    def __init__(self, communicator: Communicator, whole: Tensor, handle: dist.Work | None) -> None:
        self._communicator = communicator
        self._whole = whole
        self._handle = handle

    def wait(self) -> list[Tensor]:
        """Return the values of all ranks, in the global batch's order."""
        self._communicator.wait(self._handle)
        return [self._whole]


@dataclass(frozen=True)
class OwnMeans:
    """The means of one process, which waits for nobody."""

    means: list[Tensor]

    def wait(self) -> list[Tensor]:
        """Return them."""
        return self.means


class PendingMeans:
    """A reduction in flight."""

    def __init__(
        self, communicator: Communicator, buffer: Tensor, sums: Sequence[Gradient], handle: dist.Work | None
    ) -> None:
        self._communicator = communicator
        self._buffer = buffer
        self._shapes = [None if isinstance(s, Summed) else s.shape for s in sums]
        self._parts = [s.part for s in sums if isinstance(s, Summed)]
        self._handle = handle

    def wait(self) -> list[Tensor]:
        """Return the means, in the shapes that were given."""
        self._communicator.wait(self._handle)
        self._communicator._stop_sum.copy_(self._buffer[-1])
        count = self._buffer[-2]
        means = self._buffer[:-2] / count
        pieces = iter(means.split([shape.numel() for shape in self._shapes if shape is not None]))
        parts = iter(self._parts)
        return [next(parts) / count if shape is None else next(pieces).view(shape) for shape in self._shapes]
