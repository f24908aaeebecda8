"""A backward pass beside what follows it, on a CUDA stream of its own.

The forward passes of a step move the running statistics, each from where the last one left them, so they keep their
order. A backward pass reads the parameters and its own activations and writes nothing that another pass reads: it may
go on while the next forward and backward pass are made.

Only within a CUDA graph: there the memory pool keeps every block to its stream, and the host's work is done once.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from ebomlc_dist.gpu import on_gpu, own_stream

T = TypeVar("T")


def overlap(device: torch.device, forward: Callable[[], Tensor], backward: Callable[[Tensor], T]) -> Callable[[], T]:
    """Start ``backward(forward())``; what comes next waits for ``forward`` alone.

    Args:
        device: where they compute.
        forward: gives a scalar with its graph.
        backward: goes back through it, and keeps no part of the graph.

    Returns:
        A function that waits for the end of ``backward`` and gives its result. Call it once.
    """
    if not on_gpu(device) or not torch.cuda.is_current_stream_capturing():
        result = backward(forward())
        return lambda: result
    here, side = torch.cuda.current_stream(device), own_stream(device)
    side.wait_stream(here)
    with torch.cuda.stream(side):
        total = forward()
        forward_is_done = side.record_event()
        done = backward(total)
    here.wait_event(forward_is_done)

    def join() -> T:
        torch.cuda.current_stream(device).wait_stream(side)
        return done

    return join
