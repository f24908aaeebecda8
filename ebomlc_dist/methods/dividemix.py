"""DivideMix (Li et al. 2020, "DivideMix: Learning with Noisy Labels as Semi-supervised Learning").

Two main models. After a warm-up on CE, before each epoch and for each model: the losses of all noisy images, scaled to
0…1, are split by a mixture of two Gaussians, and w_i is the probability of the group of small losses. Each model
learns from the *other* one's split: labelled where w_i > threshold, unlabelled elsewhere. In a step, with two augmented
views of each image, p the softmax and sharpen(q) ∝ q^(1/T):

    labelled:    y' = sharpen(w·y + (1 − w)·mean of p over its own 2 predictions)
    unlabelled:  y' = sharpen(mean of p over 4 predictions, 2 of each model)
    MixMatch:    λ ~ Beta(a, a), λ ← max(λ, 1 − λ); all 4B inputs and targets mixed as λ·own + (1 − λ)·partner
    loss = mean CE(labelled) + λ_u·r·mean (p − y')² (unlabelled) + Σ_k (1/K) log((1/K) / mean p_k)

r rises over ``ramp_epochs``. Both models step at once, from the state before the step (the paper trains one for an
epoch, then the other). Partners come from the global batch: images and targets are put together from all ranks; and
the mean of p in the last term is reduced before its logarithm is taken. A prediction adds up both models' logits.

Cost: 36 forward units (18 a model: 6 for the targets, 12 for the 4B mixed images), 6 in the warm-up. Reductions: 2, and
2 times values put together (1 in the warm-up).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ebomlc_dist.fields import frame
from ebomlc_dist.methods.contract import (
    MAIN_MODELS,
    Batch,
    CleanImages,
    DatasetReducer,
    MethodConfig,
    Networks,
    PairedBatch,
    Reducer,
    Rules,
    StepResult,
    Task,
)
from ebomlc_dist.methods.two_networks import TwoNetworks, both_directions
from ebomlc_dist.noise.gaussian_mixture import small_loss_probability, unit_range
from ebomlc_dist.numerics.draws import beta, permutation
from ebomlc_dist.numerics.losses import cross_entropy, soft_cross_entropy
from ebomlc_dist.numerics.network import Network
from ebomlc_dist.numerics.one_hot import one_hot


class DivideMixConfig(MethodConfig):
    """DivideMix's settings; the defaults are those of its CIFAR-10 runs with 50 % noise."""

    own_frame: ClassVar[Mapping[str, Any]] = {
        "train.epochs": 300,
        "train.global_noisy_batch_size": 64,
        "optim.main_lr": 0.02,
        "optim.milestones": (0.5,),
    }
    name: Literal["dividemix"] = "dividemix"
    warm_up_epochs: int = frame(10, "Epochs of cross entropy at the start (30 on CIFAR-100).", ge=1)
    warm_up_penalty: Literal["none", "negative_entropy"] = frame(
        "none", "negative_entropy: penalise confident predictions in the warm-up, for class-dependent noise."
    )
    threshold: Annotated[float, Field(ge=0.0, lt=1.0)] = frame(
        0.5, "Keep a label whose w, its probability of being right, is above this."
    )
    unlabelled_weight: float = frame(
        25.0, "λ_u, weight of the unlabelled loss: 0, 25, 50 or 150, by data set and noise.", ge=0.0
    )
    ramp_epochs: int = frame(16, "Epochs over which λ_u is reached.", ge=1)
    temperature: float = frame(0.5, "T, temperature by which guessed labels are sharpened.", gt=0.0)
    mixup_shape: float = frame(4.0, "a, both parameters of MixUp's Beta distribution.", gt=0.0)
    loss_epochs: int = frame(1, "Epochs whose losses are averaged before the split (5 at 90 % noise).", ge=1)
    clean_images: CleanImages = "unused"


class DivideMix(TwoNetworks):
    """DivideMix. See the module's docstring.

    Attributes:
        state: ``clean_probability``: w (2, N) for the labels that main and peer learn from; ``losses``: (epochs, 2, N)
            scaled losses, the latest first; ``splits``: 0-dim, splits made so far; ``ramp``: 0-dim, λ_u·r.
    """

    Config: ClassVar = DivideMixConfig
    config: DivideMixConfig
    ensemble = MAIN_MODELS

    def __init__(self, config: DivideMixConfig) -> None:
        super().__init__(config)
        self._num_clean = 0

    def allocate(self, networks: Networks, task: Task) -> None:
        like = networks["main"].vector.detach()
        self.state = {
            "clean_probability": like.new_zeros((2, task.num_noisy)),
            "losses": like.new_zeros((self.config.loss_epochs, 2, task.num_noisy)),
            "splits": like.new_zeros(()),
            "ramp": like.new_zeros(()),
        }
        self._num_clean = task.num_clean if self.config.clean_images == "labelled" else 0

    @property
    def warming_up(self) -> bool:
        """Whether this epoch is one of plain CE."""
        return self.epoch < self.config.warm_up_epochs

    @property
    def capture_key(self) -> bool:
        """Whether this epoch is one of plain CE."""
        return self.warming_up

    def begin_epoch(self, networks: Networks, interlude: DatasetReducer) -> None:
        if self.warming_up:
            return
        config, state = self.config, self.state

        def both(images: Tensor, labels: Tensor) -> Tensor:
            return torch.stack([cross_entropy(networks[name](images)[0], labels) for name in MAIN_MODELS], dim=1)

        new = torch.stack([unit_range(column) for column in interlude.gather_noisy(both).t()])
        state["losses"].copy_(torch.cat([new[None], state["losses"][:-1]]))
        state["splits"] += 1
        mean = state["losses"].sum(dim=0) / state["splits"].clamp_max(config.loss_epochs)

        def split() -> Tensor:
            # Each learns from the other's split.
            return torch.stack([small_loss_probability(row) for row in mean.flip(0)])

        state["clean_probability"].copy_(interlude.from_first_rank(split, like=torch.zeros_like(mean)))
        rise = (self.epoch - config.warm_up_epochs) / config.ramp_epochs
        state["ramp"].fill_(config.unlabelled_weight * min(rise, 1.0))

    def selections(self) -> Mapping[str, Tensor]:
        """Of each model: labelled (with trusted images, where those join in) and unlabelled."""
        if self.warming_up:
            return {}
        found = {}
        for name, probability in zip(MAIN_MODELS, self.state["clean_probability"], strict=True):
            kept = probability > self.config.threshold
            # A group that is empty is lent the sample that is nearest to it.
            nearest = torch.arange(len(kept), device=kept.device)
            labelled = kept | ((nearest == probability.argmax()) & ~kept.any())
            unlabelled = ~kept | ((nearest == probability.argmin()) & kept.all())
            trusted = len(kept) + torch.arange(self._num_clean, device=kept.device)
            found[f"{name}_labelled"] = torch.cat([labelled.nonzero().flatten(), trusted])
            found[f"{name}_unlabelled"] = unlabelled.nonzero().flatten()
        return found

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        if self.warming_up:
            return self._warm_up(networks, batch.noisy, reducer)
        chosen = batch.selected
        halves = [_Half(*chosen[f"{name}_labelled"], *chosen[f"{name}_unlabelled"]) for name in MAIN_MODELS]
        place = halves[0].place
        images = reducer.assemble(torch.stack([half.inputs for half in halves], dim=1), place)
        targets = [self._targets(networks, index, half) for index, half in enumerate(halves)]
        whole_targets = reducer.assemble(torch.stack(targets, dim=1), place)
        (whole_images,), (whole_labels,) = images.wait(), whole_targets.wait()

        assert batch.key is not None
        outputs, mixed_targets = [], []
        for index, half in enumerate(halves):
            mixed, target = self._mix(batch.key, index, half, targets[index], whole_images, whole_labels)
            logits, _ = networks[MAIN_MODELS[index]](mixed.flatten(0, 1).movedim(-1, 1))
            outputs.append(logits.view(len(mixed), 4, -1))
            mixed_targets.append(target)

        def summed(outputs_of_one: Tensor) -> Tensor:
            return torch.stack([place.sum(column) for column in outputs_of_one.softmax(dim=2).mean(dim=1).t()])

        shares = reducer.mean_of_sums([summed(logits.detach()) for logits in outputs], place.count).wait()
        loss_sums, labelled_sums, unlabelled_sums = [], [], []
        for logits, target, share in zip(outputs, mixed_targets, shares, strict=True):
            labelled, unlabelled, penalty = _losses(logits, target, share)
            loss_sums.append(place.sum(labelled + self.state["ramp"] * unlabelled + penalty))
            labelled_sums.append(place.sum(labelled.detach()))
            unlabelled_sums.append(place.sum(unlabelled.detach()))
        figures = [*labelled_sums, unlabelled_sums[0]]
        return _result(networks, *both_directions(networks, loss_sums, figures, place.count, reducer))

    def _warm_up(self, networks: Networks, noisy: Batch, reducer: Reducer) -> StepResult:
        loss_sums = []
        for name in MAIN_MODELS:
            logits, _ = networks[name](noisy.images)
            losses = cross_entropy(logits, noisy.labels)
            if self.config.warm_up_penalty == "negative_entropy":
                losses = losses + (logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1)
            loss_sums.append(noisy.sum(losses))
        figures = [*(loss.detach() for loss in loss_sums), torch.zeros_like(loss_sums[0])]
        return _result(networks, *both_directions(networks, loss_sums, figures, noisy.count, reducer))

    @torch.no_grad()
    def _targets(self, networks: Networks, index: int, half: "_Half") -> Tensor:
        """y' of this rank's samples, (n, 2, K): labelled, unlabelled."""
        own, other = networks[MAIN_MODELS[index]], networks[MAIN_MODELS[1 - index]]
        refined = (_predictions(own, half.labelled) + _predictions(own, half.labelled_again)) / 2
        assert half.labelled.positions is not None
        weights = torch.cat([self.state["clean_probability"][index], refined.new_ones(self._num_clean)])
        weight = weights[half.labelled.positions][:, None]
        given = one_hot(half.labelled.labels, refined.shape[1], refined.dtype)
        views = (half.unlabelled, half.unlabelled_again)
        guessed = (
            sum((_predictions(net, view) for net in (own, other) for view in views), torch.zeros_like(refined)) / 4
        )
        both = torch.stack([weight * given + (1 - weight) * refined, guessed], dim=1)
        sharp = both ** (1 / self.config.temperature)
        return sharp / sharp.sum(dim=2, keepdim=True)

    def _mix(
        self, key: Tensor, index: int, half: "_Half", targets: Tensor, whole_images: Tensor, whole_targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """This rank's mixed inputs (n, 4, H, W, C) and targets (n, 4, K)."""
        size = half.place.global_size
        shape = torch.full((), self.config.mixup_shape, dtype=torch.float64, device=key.device)
        share = beta(shape, shape, key, index)
        share = torch.maximum(share, 1 - share).to(targets.dtype)
        blocks = torch.arange(4, device=key.device)
        rows = half.place.offset % size + torch.arange(len(targets), device=key.device)
        # Streams of the draws above end before 100.
        partner = permutation(key, 4 * size, 100 + index)[blocks * size + rows[:, None]]
        sample, block = partner % size, partner // size
        mixed = share * half.inputs + (1 - share) * whole_images[sample, index, block]
        own = targets[:, blocks // 2]
        return mixed, share * own + (1 - share) * whole_targets[sample, index, block // 2]


@dataclass(frozen=True)
class _Half:
    """One model's shares of a step: two views of the labelled and of the unlabelled batch."""

    labelled: Batch
    labelled_again: Batch
    unlabelled: Batch
    unlabelled_again: Batch

    @property
    def place(self) -> Batch:
        """All four lie in the same places of their global batches."""
        return self.labelled

    @property
    def inputs(self) -> Tensor:
        """(n, 4, H, W, C), or (n, 4, D): the order that inputs have in memory, and that what is made of them keeps."""
        views = (self.labelled, self.labelled_again, self.unlabelled, self.unlabelled_again)
        return torch.stack([view.images.movedim(1, -1) for view in views], dim=1)


def _predictions(network: Network, batch: Batch) -> Tensor:
    """Softmax with batch statistics, (n, K); running statistics stay."""
    return network.at(network.vector.detach(), batch.images)[0].softmax(dim=1)


def _losses(logits: Tensor, targets: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Per-sample losses, (n,) each: CE on labelled views, squared error on unlabelled ones, and the penalty's part.

    ``share``: (K,) mean p over the global batch. The penalty's gradient in it is −(1/K)/share.
    """
    probabilities = logits.softmax(dim=2)
    log_labelled = logits[:, :2].log_softmax(dim=2).flatten(0, 1)
    labelled = soft_cross_entropy(log_labelled, targets[:, :2].flatten(0, 1)).view(-1, 2).mean(dim=1)
    unlabelled = (probabilities[:, 2:] - targets[:, 2:]).square().mean(dim=(1, 2))
    penalty = -(probabilities.mean(dim=1) / (share * len(share))).sum(dim=1)
    return labelled, unlabelled, penalty


def _result(networks: Networks, directions: dict[str, Tensor], means: list[Tensor]) -> StepResult:
    """``means``: of the labelled loss of main and peer, and of main's unlabelled loss."""
    lower, peer_lower, unlabelled = means
    return StepResult(
        directions=directions,
        metrics={
            "lower": lower,
            "peer_lower": peer_lower,
            "unlabelled": unlabelled,
            "lower_main_norm": networks["main"].norm(directions["main"]),
        },
    )
