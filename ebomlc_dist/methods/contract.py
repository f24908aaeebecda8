"""What a method is given and what it gives back: the one regime that all methods share.

A method computes per-sample losses on its rank's share of a batch, hands **sums** to the reducer, and does everything
non-linear afterwards, on means that are the same on every rank. It never names a rank, a collective or a file.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Protocol

from torch import Tensor

from ebomlc_dist.fields import shared
from ebomlc_dist.methods.method_config import MethodConfig
from ebomlc_dist.numerics.adam import AdamRule
from ebomlc_dist.numerics.network import Gradient, Network
from ebomlc_dist.numerics.sgd import SgdRule

Networks = Mapping[str, Network]
Rules = Mapping[str, SgdRule | AdamRule]

MAIN_MODELS = ("main", "peer")
"""The networks that learn to classify; the others are small, and steer."""


@dataclass(frozen=True)
class Batch:
    """One rank's share of a global batch, on the device.

    Attributes:
        images: (n, C, H, W) float, augmented and normalised.
        labels: (n,) int64. The noisy label on noisy batches, the trusted label on clean ones.
        count: how many of the n samples count. Always n, except where a rank's share is empty: then the shard holds
            one borrowed image and ``count`` is 0.
        offset: place of the first sample within the global batch.
        total: samples in the global batch; None where this shard is all of it.
        positions: (n,) int64, where the samples stand in the set that the stream is drawn from.
        trusted: (n,) bool, which labels are trusted ones, in a stream that mixes them with noisy ones; else None.
        old_labels: (n,) int64 on clean batches, the noisy label each image had before it was trusted, −1 where that is
            unknown; None where it is unknown of all.
        smoothing: share of each label that a main model's target spreads over the classes (`Method.smooths`).
    """

    images: Tensor
    labels: Tensor
    count: int
    offset: int = 0
    total: int | None = None
    positions: Tensor | None = None
    trusted: Tensor | None = None
    old_labels: Tensor | None = None
    smoothing: float = 0.0

    @property
    def global_size(self) -> int:
        """Samples in the global batch."""
        return len(self.labels) if self.total is None else self.total

    def sum(self, terms: Tensor) -> Tensor:
        """The sum over the samples that count, of per-sample ``terms`` (n,). Every objective is formed by it."""
        return terms.sum() if self.count else terms.sum() * 0.0

    def counted(self, values: Tensor) -> Tensor:
        """Per-sample ``values`` (n, …), zeros where no sample counts: their product with others is a `sum`."""
        return values if self.count else values * 0.0


@dataclass(frozen=True)
class PairedBatch:
    """What one step sees. A stream the method did not ask for (`Streams`) is None.

    Attributes:
        noisy: share of the global noisy batch.
        clean: share of the global clean batch (all of it, or the half that serves the upper objective).
        lower_clean: share of the other half, for methods whose lower objective includes clean images.
        selected: name of a selection (`Method.selections`) → share of its global batch, twice, augmented apart.
        key: 0-dim int64, a function of seed and step and the same on every rank, for `ebomlc_dist.numerics.draws`.
    """

    noisy: Batch
    clean: Batch | None = None
    lower_clean: Batch | None = None
    selected: Mapping[str, tuple[Batch, Batch]] = field(default_factory=dict)
    key: Tensor | None = None


@dataclass(frozen=True)
class Streams:
    """The data a method asks for.

    Attributes:
        clean: a clean batch beside each noisy one.
        lower_clean: the clean batch is split in two halves, the second one for the lower objective.
        noisy_images: what the noisy stream is fed from: the ``noisy`` set; the ``clean`` set (a reference that must
            not see a noisy label); or their ``union``, in which clean images carry their trusted label.
        held_out: share of each class of the clean set that the clean streams leave out (`DatasetReducer.sum_held_out`).
        noisy_labels: ``noisy``, or ``true``: the noisy stream carries the true labels (the oracle reference only).
    """

    clean: bool = False
    lower_clean: bool = False
    noisy_images: Literal["noisy", "clean", "union"] = "noisy"
    noisy_labels: Literal["noisy", "true"] = "noisy"
    held_out: float = 0.0

    @property
    def needs_clean(self) -> bool:
        """Whether any of it comes from the trusted set."""
        return self.clean or self.lower_clean or self.noisy_images != "noisy"


CleanImages = Annotated[
    Literal["unused", "labelled"],
    shared("labelled: trusted images, where there are any, join the noisy set as ordinary labelled data."),
]
"""The setting of methods that need no trusted set."""


def joined_streams(clean_images: str) -> Streams:
    """The noisy stream alone, or with the trusted images in it."""
    return Streams(noisy_images="union" if clean_images == "labelled" else "noisy")


@dataclass(frozen=True)
class Task:
    """What a method may allocate by.

    Attributes:
        num_classes: K.
        num_noisy, num_clean: images in the noisy and in the clean set.
        old_labels: (K, K) int64, how many clean images have a label (row) and had a noisy label (column) before, see
            `Batch.old_labels`; None where that is unknown of all.
        audited: whether the run keeps what an audit of its labels needs.
    """

    num_classes: int
    num_noisy: int
    num_clean: int
    old_labels: Tensor | None = None
    audited: bool = False


class Pending(Protocol):
    """Means on their way: the collective may still be in flight until `wait` is called."""

    def wait(self) -> list[Tensor]:
        """The means, alike on every rank, when the collective has ended."""
        ...


class Reducer(Protocol):
    """Turns sums over this rank's samples into means over the global batch, alike on every rank."""

    def mean_of_sums(self, sums: Sequence[Gradient], count: int) -> Pending:
        """Start the reduction of ``sums`` (any shapes, one dtype) and of ``count``, as one flat collective.

        Returns a handle whose ``wait()`` gives the tensors divided by the global count, in the given shapes. What is
        `Summed` already is divided alone.
        """
        ...

    def assemble(self, values: Tensor, batch: Batch) -> Pending:
        """Start putting together (n, …) values of ``batch``'s samples from all ranks, as one collective.

        Returns a handle whose ``wait()`` gives one tensor, (`Batch.global_size`, …) in the global batch's order.
        """
        ...


class DatasetReducer(Protocol):
    """What a method may ask for between two epochs. Collective: every rank asks for the same, in the same order."""

    def gather_noisy(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """(N, …): ``values(images, labels)`` (n, …) of the whole noisy set, in evaluation mode, not augmented."""
        ...

    def sum_noisy(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The sum of ``values(images, labels)`` (n, …) over the whole noisy set, likewise."""
        ...

    def sum_clean(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The sum over the whole clean set."""
        ...

    def sum_held_out(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The sum over the part of the clean set that is not trained on."""
        ...

    def gather_held_out(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """(N, …): `values` of every image of that part, in its order."""
        ...

    def from_first_rank(self, work: Callable[[], Tensor], like: Tensor) -> Tensor:
        """What ``work`` gives on one rank, on every rank; ``like``: a tensor of its shape and dtype, overwritten."""
        ...

    def restart(self, name: str) -> None:
        """Put a network, its optimiser and its schedule back to where the run began."""
        ...


@dataclass(frozen=True)
class StepResult:
    """What a step proposes. The engine applies it, unless it is not finite on some rank.

    Attributes:
        directions: network name → (P,) descent direction, to pass through that network's optimiser.
        metrics: name → 0-dim tensor on the device, global values, the same on every rank.
        maxima: the same, for figures whose largest value over an interval matters.
        corrected: (n,) int64 label the method believes for each sample of ``batch.noisy``, where it forms one.
        start_points: network name → (P,) vector the optimiser starts from instead of the current parameters.
        skip_update: network name → 0-dim bool, the same on every rank: where true, this optimiser rests.
        state: new values of `Method.state`, under the same names.
    """

    directions: Mapping[str, Tensor]
    metrics: Mapping[str, Tensor]
    maxima: Mapping[str, Tensor] = field(default_factory=dict)
    corrected: Tensor | None = None
    start_points: Mapping[str, Tensor] = field(default_factory=dict)
    skip_update: Mapping[str, Tensor] = field(default_factory=dict)
    state: Mapping[str, Tensor] = field(default_factory=dict)


class Method(ABC):
    """One method: its configuration, the networks and data it asks for, and its step.

    Attributes:
        Config: its settings.
        networks: names of the networks it trains: ``main``, ``peer`` (a second main model), ``meta``, ``extractor``.
        meta_model: which model ``meta`` is, a row of `ebomlc_dist.models.meta.META_MODELS`.
        streams: the data it asks for; may change from epoch to epoch.
        stages: how many times it goes through the epochs of a run, each time with the schedule from its beginning.
        ensemble: networks whose logits are added up for a prediction.
        main_optimizers: optimisers that its main models may have.
        smooths: whether a main model learns given labels as they are, so that they can be smoothed.
        paper: where a method from outside comes from, for the listing.
        noisy_units, clean_units: cost of its step, likewise; see `ebomlc_dist.methods.MethodInfo`.
        state: name → tensor on the device, the same on every rank: what a step or an epoch leaves for the next.
            Checkpoints hold it. A step returns new values in `StepResult.state`, unused where it is skipped.
        epoch: epochs before the present one, over all stages.
        epochs: epochs of one stage.
    """

    Config: ClassVar[type[MethodConfig]]
    networks: tuple[str, ...] = ("main",)
    meta_model: ClassVar[str] = "label-corrector"
    streams: Streams = Streams()
    stages: ClassVar[int] = 1
    ensemble: ClassVar[tuple[str, ...]] = ("main",)
    main_optimizers: ClassVar[tuple[str, ...]] = ("sgd",)
    smooths: ClassVar[bool] = False
    paper: ClassVar[str] = "-"
    noisy_units: ClassVar[float | None] = None
    clean_units: ClassVar[float] = 0.0

    def __init__(self, config: Any) -> None:
        self.config = config
        self.state: dict[str, Tensor] = {}
        self.epoch = 0
        self.epochs = 1

    def allocate(self, networks: Networks, task: Task) -> None:  # noqa: B027  # most methods remember nothing
        """Fill `state` with what the first step is to find. Called once."""

    def enter_epoch(self, epoch: int, epochs: int) -> None:
        """Set `epoch` and `epochs`: before each epoch's first step, and before a resumed run's. Host work only."""
        self.epoch, self.epochs = epoch, epochs

    @property
    def capture_key(self) -> Hashable:
        """What, besides tensors, decides the way a step goes; while it stays equal, one recording holds every step."""
        return None

    @property
    def backward_twice(self) -> bool:
        """Whether a step differentiates a backward pass, which neither a recorded nor a compiled step can hold."""
        return getattr(self.config, "hypergradient", None) == "double_backward"

    def begin_epoch(self, networks: Networks, interlude: DatasetReducer) -> None:  # noqa: B027  # nor need a pause
        """Work between two epochs: once for each, after `enter_epoch`, never in the middle of one."""

    def selections(self) -> Mapping[str, Tensor]:
        """Name → (m,) int64 positions, m ≥ 1, that a stream of its own is to draw from this epoch.

        Positions count through the noisy set and then, from N on, through the clean set. A function of `epoch` and
        `state`; called after `begin_epoch`, and on a resume.
        """
        return {}

    @abstractmethod
    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        """One step on one batch. No host sync, no data-dependent shape: it can be captured in a CUDA graph.

        A value that changes from step to step is a tensor, in place; one of Python's is part of `capture_key`.

        Args:
            networks: ``main`` (images → logits, features) and whatever else `networks` names.
            rules: network name → what its optimiser would do with a gradient.
            batch: this rank's share.
            reducer: sums → global means.
        """

    def report(self) -> Mapping[str, str | float]:
        """What the method itself has to say of the run, for its summary. Host work, at the run's end."""
        return {}

    def corrected_probabilities(
        self, networks: Networks, logits: Tensor, features: Tensor, labels: Tensor
    ) -> Tensor | None:
        """(n, K) distribution over true labels for images with these logits, features and given labels.

        None where the method forms no corrected label. Evaluation mode, no gradient.
        """
        return None
