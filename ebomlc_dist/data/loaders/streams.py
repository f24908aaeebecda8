"""The protocols that every loader meets, whatever holds the images: resident, FFCV or a DataLoader.

A loader is asked for a step, not for the next batch: what it gives is a pure function of the step, so that a resume
needs no state, and the global batch is the same at every world size.

A batch is made in two parts: the host gives numbers and whatever images are not on the device, and the device makes the
batch of them. The second part reads nothing else that changes from step to step, so that a CUDA graph can hold it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.gpu import on_gpu, pinned
from ebomlc_dist.methods.contract import Batch, PairedBatch, Streams


@dataclass(frozen=True)
class StreamInputs:
    """What the host gives for one rank's share of one stream's batch.

    Attributes:
        numbers: `StreamLoader.shape` int64.
        frames: (n, C, h, w) uint8, or None where the images are on the device.
    """

    numbers: NDArray[np.int64]
    frames: Tensor | None


@dataclass(frozen=True)
class StepInputs:
    """What the host gives for one step, all streams together.

    Attributes:
        numbers: (m,) int64: the step's key, then the streams' numbers end to end.
        frames: (n, C, h, w) uint8 each, of the streams whose images are not on the device.
    """

    numbers: Tensor
    frames: tuple[Tensor, ...] = ()

    def to(self, device: torch.device) -> "StepInputs":
        """Copies on ``device``, for which the host does not wait; on a CPU the same tensors."""
        if not on_gpu(device):
            return self
        return StepInputs(_sent(self.numbers, device), tuple(_sent(frames, device) for frames in self.frames))

    def held(self, device: torch.device) -> "StepInputs":
        """Copies on ``device`` that nobody else writes to."""
        return StepInputs(self.numbers.to(device, copy=True), tuple(f.to(device, copy=True) for f in self.frames))

    def into(self, held: "StepInputs") -> None:
        """Copy into the tensors of ``held``, without the host waiting for a GPU."""
        gpu = on_gpu(held.numbers.device)
        for own, other in zip((self.numbers, *self.frames), (held.numbers, *held.frames), strict=True):
            other.copy_(pinned(own) if gpu else own, non_blocking=gpu)


class StreamLoader(Protocol):
    """One rank's view of one endless stream of global batches.

    Attributes:
        shape: (k, n) of the numbers that a batch is made of.
        reads: whether it is made of frames too.
    """

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def reads(self) -> bool: ...

    def inputs(self, step: int) -> StreamInputs:
        """Return the host's part of this rank's share of global batch ``step``, counted from 0 over the whole run."""
        ...

    def make(self, numbers: Tensor, frames: Tensor | None) -> Batch:
        """Return the batch of what `inputs` gave, on the device.

        No host sync, nothing else that depends on the step.
        """
        ...

    def close(self) -> None:
        """End what reads ahead."""
        ...


class Pixels(Protocol):
    """Where the images of one rank's share of a stream come from: the one thing in which the backends differ.

    Attributes:
        reads: whether images come from the host, step by step.
    """

    @property
    def reads(self) -> bool: ...

    def frames(self, step: int) -> Tensor | None:
        """(n, C, h, w) uint8 on the host: the images of ``step``, where they are read; else None."""
        ...

    def of(self, rows: Tensor, frames: Tensor | None) -> Tensor:
        """(n, C, h, w) uint8 on the device, not augmented: the images ``rows`` (n,), or their ``frames``."""
        ...

    def close(self) -> None:
        """End what reads ahead. Asking for a step afterwards starts it anew."""
        ...


class Loader(Protocol):
    """What the engine trains from: one paired batch a step.

    Attributes:
        steps_per_epoch: steps in which the noisy set is gone through once.
    """

    @property
    def steps_per_epoch(self) -> int: ...

    def serve(self, streams: Streams, selections: Mapping[str, Tensor], epoch: int) -> None:
        """What the batches of ``epoch`` (from 0) are to hold; see `Method.streams` and `Method.selections`."""
        ...

    @property
    def layout(self) -> tuple[tuple[str, tuple[int, int]], ...]:
        """Name and shape of the numbers of every stream that is served."""
        ...

    def inputs(self, step: int) -> StepInputs:
        """Return the host's part of this rank's share of step ``step``, counted from 0 over the whole run."""
        ...

    def make(self, inputs: StepInputs) -> PairedBatch:
        """Return the batch of inputs that are on the device. No host sync, nothing else that depends on the step."""
        ...

    def batch(self, step: int) -> PairedBatch:
        """Return the batch of ``step``: `inputs`, then `make`."""
        ...

    def close(self) -> None:
        """End the processes and threads that read ahead; nothing is lost, a later batch starts them anew."""
        ...


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    return pinned(tensor).to(device, non_blocking=True)
