"""What holds a recorded step, and what a recording must leave as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from ebomlc_dist.engine.build import Training

T = TypeVar("T")
_WARM_UP_STEPS = 3


class Graph(Protocol):
    """Records what a function does on the device, and does it again: the same work on the same memory."""

    def warm_up(self, work: Callable[[], object]) -> None:
        """Do the work a few times, so that everything it makes once for all is there."""
        ...

    def capture(self, work: Callable[[], T]) -> T:
        """Record the work. What it returns is filled by each `replay`, and by nothing before the first."""
        ...

    def replay(self) -> None:
        """Do the recorded work on what its tensors hold at this moment."""
        ...


class CudaGraph:
    """One CUDA graph (a `Graph`), with the stream that it is recorded on; it is replayed on the current one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._graph = torch.cuda.CUDAGraph()

    def warm_up(self, work: Callable[[], object]) -> None:
        """See `Graph`. On the stream of the recording: cuBLAS and cuDNN have a workspace for each."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UP_STEPS):
                work()
        current.wait_stream(self._stream)

    def capture(self, work: Callable[[], T]) -> T:
        """See `Graph`."""
        # Other threads go on: a loader pins memory, NCCL's watchdog asks for events.
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            return work()

    def replay(self) -> None:
        """See `Graph`."""
        self._graph.replay()


def moving(training: Training) -> list[Tensor]:
    """Every tensor that a step may write and the next one reads, in place for as long as the run lasts."""
    found: list[Tensor] = [training.runtime.communicator.stop_asked, *training.method.memory.values()]
    for network in training.networks.values():
        found += [network.vector.detach(), *network.module.buffers()]
    for optimizer in training.optimizers.values():
        found += optimizer.state().values()
    for average in training.averages.values():
        found += [average.vector, average.statistics, average.steps]
    if training.loss_scale is not None:
        found += [training.loss_scale.value, training.loss_scale.good_steps]
    return found


@contextmanager
def undone(training: Training) -> Iterator[None]:
    """What steps within it do to the run is undone at its end, the generators' draws too."""
    tensors = moving(training)
    before = [tensor.clone() for tensor in tensors]
    device = training.runtime.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
    with torch.no_grad():
        for tensor, value in zip(tensors, before, strict=True):
            tensor.copy_(value)
