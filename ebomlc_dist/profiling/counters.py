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

NO_KERNEL = ("aten.empty", "aten.new_empty", "aten.as_strided_", "aten.resize_", "aten.set_", "profiler.")
"""Beside views: operators that reserve memory, say how it is read, or mark a place in a profile."""
WAITING = (
    *("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.is_nonzero", "aten.equal"),
    *("aten.unique", "aten._unique", "aten.bincount", "aten.repeat_interleave.Tensor"),
)


class Launches(TorchDispatchMode):
    """Counts operators that launch a kernel on a GPU, and the copies that cuDNN makes within a convolution.

    An operator launches none where it is a view, only reserves memory, or what it gives is empty. cuDNN takes the
    images, weights and gradients of one convolution in one memory format: channels-last where images or weights are. It
    copies each of them that lies otherwise, in every pass, and no operator tells of that. A gradient of weights comes
    out in that format too, on a CPU as well: what copies it afterwards is an operator.

    Attributes:
        operators: those that launch a kernel.
        relayouts: copies within convolutions.
        waits: names of those that make the host wait for the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators = 0
        self.relayouts = 0
        self.waits: list[str] = []

    @property
    def count(self) -> int:
        """Launches: operators and relayouts."""
        return self.operators + self.relayouts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if name.startswith(WAITING):
            self.waits.append(name)
        result = func(*args, **(kwargs or {}))
        given = [t for t in tree_iter(result) if isinstance(t, Tensor)]
        empty = bool(given) and not any(t.numel() for t in given)
        self.operators += not (func.is_view or name.startswith(NO_KERNEL) or empty)
        if name.startswith("aten.convolution"):
            self.relayouts += _relayouts(func, args)
        return result


def _relayouts(func: Any, args: Any) -> int:
    """How many tensors of a convolution, or of its backward pass, cuDNN copies into its memory format."""
    if func is torch.ops.aten.convolution.default:
        images, weight = args[:2]
        taken = [images, weight]
    elif func is torch.ops.aten.convolution_backward.default:
        gradient, images, weight = args[:3]
        of_images, of_weight, _ = args[-1]
        taken = [gradient, *([weight] if of_images else []), *([images] if of_weight else [])]
    else:
        return 0
    if images.dim() != 4:
        return 0
    last = any(torch._prims_common.suggest_memory_format(t) == torch.channels_last for t in (images, weight))
    wanted = torch.channels_last if last else torch.contiguous_format
    return sum(not t.is_contiguous(memory_format=wanted) for t in taken)


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
