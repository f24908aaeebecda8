"""What a method is given and what it gives back: the one regime that all methods share.

A method computes per-sample losses on its rank's share of a batch, hands **sums** to the reducer, and does everything
non-linear afterwards, on means that are the same on every rank. It never names a rank, a collective or a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ebomlc_dist.numerics.flat import FlatModule
from ebomlc_dist.numerics.sgd import SgdRule


class MethodConfig(BaseModel):
    """Settings of one method, with its paper's defaults; ``name`` is the method's name in the registry."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str


@dataclass(frozen=True)
class Batch:
    """One rank's share of a global batch, on the device.

    Attributes:
        images: (n, C, H, W) float, augmented and normalised.
        labels: (n,) int64. The noisy label on noisy batches, the trusted label on clean ones.
        count: how many of the n samples count. Always n, except where a rank's share is empty: then the shard holds
            one borrowed image and ``count`` is 0.
    """

    images: Tensor
    labels: Tensor
    count: int

    def sum(self, terms: Tensor) -> Tensor:
        """The sum over the samples that count, of per-sample ``terms`` (n,). Every objective is formed by it."""
        return terms.sum() if self.count else terms.sum() * 0.0


@dataclass(frozen=True)
class PairedBatch:
    """What one step sees. A stream the method did not ask for (`Streams`) is None.

    Attributes:
        noisy: share of the global noisy batch.
        clean: share of the global clean batch (all of it, or the half that serves the upper objective).
        lower_clean: share of the other half, for methods whose lower objective includes clean images.
    """

    noisy: Batch
    clean: Batch | None = None
    lower_clean: Batch | None = None


@dataclass(frozen=True)
class Streams:
    """The data a method asks for.

    Attributes:
        clean: a clean batch beside each noisy one.
        lower_clean: the clean batch is split in two halves, the second one for the lower objective.
        noisy_images: ``noisy``, or ``clean``: the noisy stream itself is fed from the trusted set (a reference
            that must not see a noisy label).
        noisy_labels: ``noisy``, or ``true``: the noisy stream carries the true labels (the oracle reference only).
    """

    clean: bool = False
    lower_clean: bool = False
    noisy_images: str = "noisy"
    noisy_labels: str = "noisy"


class Pending(Protocol):
    """Means on their way: the collective may still be in flight until `wait` is called."""

    def wait(self) -> list[Tensor]: ...


class Reducer(Protocol):
    """Turns sums over this rank's samples into means over the global batch, alike on every rank."""

    def mean_of_sums(self, sums: list[Tensor], count: int) -> Pending:
        """Start the reduction of ``sums`` (any shapes, one dtype) and of ``count``, as one flat collective.

        Returns a handle whose ``wait()`` gives the tensors divided by the global count, in the given shapes.
        """
        ...


@dataclass(frozen=True)
class StepResult:
    """What a step proposes. The engine applies it, unless it is not finite on some rank.

    Attributes:
        directions: network name → (P,) descent direction, to pass through that network's optimiser.
        metrics: name → 0-dim tensor on the device, global values, the same on every rank.
        maxima: the same, for figures whose largest value over an interval matters.
        corrected: (n,) int64 label the method believes for each sample of ``batch.noisy``, where it forms one.
        origins: network name → (P,) vector the optimiser starts from instead of the current parameters.
        waits: network name → 0-dim bool, the same on every rank: where true, this network's optimiser rests this step.
        memory: new values of `Remembering.memory`, under the same names.
    """

    directions: Mapping[str, Tensor]
    metrics: Mapping[str, Tensor]
    maxima: Mapping[str, Tensor] = field(default_factory=dict)
    corrected: Tensor | None = None
    origins: Mapping[str, Tensor] = field(default_factory=dict)
    waits: Mapping[str, Tensor] = field(default_factory=dict)
    memory: Mapping[str, Tensor] = field(default_factory=dict)


class Method(Protocol):
    """One method: its configuration, the networks and data it asks for, and its step."""

    Config: ClassVar[type[MethodConfig]]
    networks: tuple[str, ...]
    streams: Streams

    def __init__(self, config: MethodConfig) -> None: ...

    def step(
        self, networks: Mapping[str, FlatModule], rules: Mapping[str, SgdRule], batch: PairedBatch, reducer: Reducer
    ) -> StepResult:
        """One step on one batch. No host sync, no data-dependent shape: it can be captured in a CUDA graph.

        Args:
            networks: ``main`` (images → logits, features) and whatever else `networks` names (``meta``, …).
            rules: network name → the rule of its SGD, for networks that SGD trains (``main``).
            batch: this rank's share.
            reducer: sums → global means.
        """
        ...

    def corrected_probabilities(
        self, networks: Mapping[str, FlatModule], logits: Tensor, features: Tensor, labels: Tensor
    ) -> Tensor | None:
        """(n, K) distribution over true labels for images with these main-model outputs and given labels.

        None where the method forms no corrected label. Evaluation mode, no gradient.
        """
        ...


@runtime_checkable
class Remembering(Protocol):
    """What a method has besides `Method` where a step leaves something behind for the next one.

    Attributes:
        memory: name → tensor on the device, the same on every rank. A step reads it and returns new values in
            `StepResult.memory`; the engine writes them in place unless the step is skipped, and checkpoints hold them.
    """

    memory: dict[str, Tensor]

    def allocate(self, networks: Mapping[str, FlatModule]) -> None:
        """Fill `memory` with what the first step is to find. The engine calls it once."""
        ...


def memory_of(method: Method) -> dict[str, Tensor]:
    """What the method's steps carry from one to the next; empty where they carry nothing."""
    return method.memory if isinstance(method, Remembering) else {}
