"""How a step is carried out: operator by operator, or as a recording of all of it.

A recorded step reads one static index buffer, and the images where they are not on the device: the host writes them,
then replays. Everything else that changes from step to step (parameters, statistics, optimiser state, learning rates, a
method's state) is a tensor that stays in its place, or part of what makes a recording be made anew.
"""

import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from ebomlc_dist.data.loaders.streams import StepInputs
from ebomlc_dist.engine.build import Training
from ebomlc_dist.engine.step import StepOutcome
from ebomlc_dist.gpu import forked_generators, kept_streams, own_stream
from ebomlc_dist.methods.contract import PairedBatch

T = TypeVar("T")
_WARM_UP_STEPS = 3


class Graph(Protocol):
    """Records what a function does on the device, and does it again: the same work on the same memory."""

    def warm_up(self, work: Callable[[], object]) -> None:
        """Do the work a few times, so that whatever is made once exists before recording."""
        ...

    def capture(self, work: Callable[[], T]) -> T:
        """Record the work. What it returns is filled by each `replay`, and by nothing before the first."""
        ...

    def replay(self) -> None:
        """Do the recorded work on what its tensors hold at this moment."""
        ...

    def close(self) -> None:
        """Forget what was recorded, whoever still holds this object."""
        ...


class CudaGraph:
    """One CUDA graph (a `Graph`), with the streams that it is recorded on; it is replayed on the current one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = own_stream(device)
        self._graph = torch.cuda.CUDAGraph()
        self._sides: list[torch.cuda.Stream] = []

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
        with (
            kept_streams() as self._sides,
            # Other threads go on: a loader pins memory, NCCL's watchdog asks for events.
            torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            return work()

    def replay(self) -> None:
        """See `Graph`."""
        self._graph.replay()

    def close(self) -> None:
        """See `Graph`. A traceback may hold this object for long."""
        self._graph.reset()
        self._sides = []


def mutable_tensors(training: Training) -> list[Tensor]:
    """Return every tensor that a step may write and the next one reads, in place for as long as the run lasts."""
    found: list[Tensor] = [training.runtime.communicator.stop_asked, *training.method.state.values()]
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
def restored_afterwards(training: Training) -> Iterator[None]:
    """Undo, at the end of the block, what steps in it did to the run and its generators."""
    tensors = mutable_tensors(training)
    before = [tensor.clone() for tensor in tensors]
    with forked_generators(training.runtime.device):
        yield
    with torch.no_grad():
        for tensor, value in zip(tensors, before, strict=True):
            tensor.copy_(value)


log = logging.getLogger(__name__)
Taken = tuple[PairedBatch, StepOutcome]


class Program(Protocol):
    """Takes one step of a run after another."""

    def __call__(self, step: int) -> Taken:
        """Take ``step``, counted from 0 over the whole run; its batch and outcome, valid until the next one."""
        ...

    def close(self) -> None:
        """Let go of what was recorded.

        Call it before the processes part: NCCL waits for ever where a graph with a collective is alive as its
        communicator ends (pytorch#115388). A later step makes ready anew.
        """
        ...


def make_program(training: Training) -> Program:
    """Return the program that takes the run's steps: eager, or recorded."""
    if not training.config.train.cuda_graph:
        return EagerProgram(training)
    if training.method.backward_twice:
        log.warning(
            "no CUDA graph holds %s's double_backward, its steps run operator by operator", training.config.method.name
        )
        return EagerProgram(training)
    return RecordedProgram(training, partial(CudaGraph, training.runtime.device))


class EagerProgram:
    """Steps operator by operator (a `Program`)."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def __call__(self, step: int) -> Taken:
        batch = self._training.loader.batch(step)
        return batch, self._training.step(batch)

    def close(self) -> None:
        """See `Program`: nothing is recorded."""


class RecordedProgram:
    """Steps as replays of a recording (a `Program`).

    Attributes:
        recordings: how many were made so far.

    Args:
        training: the run; nothing of it is moved by recording.
        graph: makes an empty graph.
    """

    def __init__(self, training: Training, graph: Callable[[], Graph]) -> None:
        self._training = training
        self._make_graph = graph
        self._graph: Graph | None = None
        self._capture_key: Hashable = None
        self._inputs: StepInputs | None = None
        self._taken: Taken | None = None
        self.recordings = 0

    def __call__(self, step: int) -> Taken:
        given = self._training.loader.inputs(step)
        capture_key = self._capture_key_now()
        if self._graph is None or capture_key != self._capture_key:
            self._record(given)
            self._capture_key = capture_key
        assert self._inputs is not None
        assert self._graph is not None
        assert self._taken is not None
        # The collectives of the last replay may hold up this one.
        with self._training.runtime.communicator.waiting():
            given.into(self._inputs)
            self._graph.replay()
        return self._taken

    def close(self) -> None:
        """See `Program`."""
        if self._graph is not None:
            self._graph.close()
        self._graph = self._taken = self._inputs = None

    def _capture_key_now(self) -> Hashable:
        """Return what a recording has fixed. The shapes of frames go with the streams they belong to."""
        training = self._training
        constants = tuple(optimizer.constants for optimizer in training.optimizers.values())
        return training.method.capture_key, training.method.streams, training.loader.layout, constants

    def _record(self, given: StepInputs) -> None:
        # The last recording's memory is given back first.
        self.close()
        inputs, training = given.held(self._training.runtime.device), self._training

        def work() -> Taken:
            batch = training.loader.make(inputs)
            return batch, training.step(batch)

        # Held from here on, so that `close` finds it where recording fails.
        self._graph = graph = self._make_graph()
        self._capture_key = None
        with restored_afterwards(training):
            graph.warm_up(work)
            with ExitStack() as stack:
                for optimizer in training.optimizers.values():
                    stack.enter_context(optimizer.recorded())
                taken = graph.capture(work)
        self._inputs, self._taken = inputs, taken
        self.recordings += 1
