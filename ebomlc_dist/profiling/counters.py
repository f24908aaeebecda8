"""What a step costs in counts that are the same on every machine: operators, floating-point work, tensors alive.

Each counter is a context; the work goes on inside it, slower but with the same results.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from ebomlc_dist.gpu import on_gpu

WAITING = (
    *("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.is_nonzero", "aten.equal"),
    *("aten.unique", "aten._unique", "aten.bincount", "aten.repeat_interleave.Tensor"),
)


class Launches(TorchDispatchMode):
    """Counts operators that are not views.

    Attributes:
        count: operators so far.
        waits: names of those that make the host wait for the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if name.startswith(WAITING):
            self.waits.append(name)
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of tensors that operators made and somebody still holds.

    What was there before does not count, nor does scratch space inside one kernel: the figure is the peak over the
    base, a property of the step and not of the allocator.

    Attributes:
        live: bytes alive.
        peak: the most that were alive at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {t.untyped_storage()._cdata for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                self._hold(tensor.untyped_storage(), before)
        return result

    def _hold(self, storage: torch.UntypedStorage, before: set[int]) -> None:
        key = storage._cdata
        if key in self._sizes or key in before:
            return
        self._sizes[key] = storage.nbytes()
        self.live += self._sizes[key]
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, key)

    def _release(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of the convolutions and matrix products in ``work``, by torch's own formulas."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@dataclass(frozen=True)
class Counts:
    """Counts of one step.

    Attributes:
        flops: as `count_flops` has them.
        launches, waits: operators, and those that make the host wait; see `Launches`.
        peak_bytes: see `PeakMemory`; on a CUDA device the allocator's own figure.
    """

    flops: int
    launches: int
    waits: int
    peak_bytes: int


def count(work: Callable[[], object], device: torch.device) -> Counts:
    """Counts of ``work``, which is run twice; what it allocates once for all must be there already."""
    flops = count_flops(work)
    with Launches() as launches:
        peak = peak_bytes(work, device)
    return Counts(flops, launches.count, len(launches.waits), peak)


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """The most bytes that ``work`` holds at once beyond what was held before it."""
    if on_gpu(device):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        base = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - base
    with PeakMemory() as memory:
        work()
    return memory.peak
