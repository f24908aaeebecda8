"""The protocols that every loader meets, whatever holds the images: resident, FFCV or a DataLoader.

A loader is asked for a step, not for the next batch: what it gives is a pure function of the step, so that a resume
needs no state, and the global batch is the same at every world size.
"""

from typing import Protocol

from torch import Tensor

from ebomlc_dist.methods.contract import Batch, PairedBatch


class StreamLoader(Protocol):
    """One rank's view of one endless stream of global batches."""

    def batch(self, step: int) -> Batch:
        """This rank's share of global batch ``step``, counted from 0 over the whole run."""
        ...

    def positions(self, step: int) -> Tensor:
        """(n,) int64 on the device: where the samples of ``batch(step)`` stand in the stream's set. Metrics only."""
        ...


class Loader(Protocol):
    """What the engine trains from: one paired batch a step.

    Attributes:
        steps_per_epoch: steps in which the noisy set is gone through once.
    """

    @property
    def steps_per_epoch(self) -> int: ...

    def batch(self, step: int) -> PairedBatch:
        """This rank's share of step ``step``, counted from 0 over the whole run."""
        ...

    def positions(self, step: int) -> Tensor:
        """(n,) int64 on the device: where the samples of ``batch(step).noisy`` stand in the set they are drawn from.

        That is the noisy set (beside ``NoisyDataset.true_labels``), unless the method asked for the noisy stream to be
        fed from the trusted set.
        """
        ...
