"""The protocols that every loader meets, whatever holds the images: resident, FFCV or a DataLoader.

A loader is asked for a step, not for the next batch: what it gives is a pure function of the step, so that a resume
needs no state, and the global batch is the same at every world size.
"""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from ebomlc_dist.methods.contract import Batch, PairedBatch, Streams


class StreamLoader(Protocol):
    """One rank's view of one endless stream of global batches."""

    def batch(self, step: int) -> Batch:
        """This rank's share of global batch ``step``, counted from 0 over the whole run."""
        ...

    def close(self) -> None:
        """End what reads ahead."""
        ...


class Pixels(Protocol):
    """Where the images of one rank's share of a stream come from: the one thing in which the backends differ."""

    def at(self, step: int, rows: Tensor) -> Tensor:
        """(n, C, h, w) uint8 on the device, not augmented: the images ``rows`` (n,), which are those of ``step``."""
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

    def batch(self, step: int) -> PairedBatch:
        """This rank's share of step ``step``, counted from 0 over the whole run."""
        ...

    def close(self) -> None:
        """End the processes and threads that read ahead; nothing is lost, a later batch starts them anew."""
        ...
