"""Co-teaching+ (Yu et al. 2019, "How does Disagreement Help Generalization against Label Corruption?").

Two main models learn from each other's small-loss samples. With R(e) = τ·min(e / E_k, 1), the share to forget in epoch
e:

- in the first ``init_epochs`` epochs each model picks, of the B samples of a batch, the (1 − R(e))·B it has the
  smallest loss on, and the *other* model takes a step on their mean cross entropy;
- later, the same among those D samples of the batch on which the two predictions differ, (1 − R(e))·D of them. Where
  they agree on all, no step is made.

The batch is the global one: losses are put together from all ranks before they are ranked. τ should be the noise rate;
it is not known from the data. Cost: 6 forward units. Reductions: 1, and the losses put together once.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ebomlc_dist.fields import frame
from ebomlc_dist.methods.contract import (
    MAIN_MODELS,
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
from ebomlc_dist.numerics.losses import cross_entropy


class CoteachingPlusConfig(MethodConfig):
    """Co-teaching+'s settings; the defaults are those of its CIFAR-10 runs."""

    own_frame: ClassVar[Mapping[str, Any]] = {
        "train.epochs": 200,
        "train.global_noisy_batch_size": 128,
        "optim.main_optimizer": "adam",
        "optim.main_lr": 1e-3,
        "optim.weight_decay": 0.0,
        "optim.schedule": "linear",
        "optim.milestones": (80 / 200,),
        "optim.late_beta1": 0.1,
    }
    name: Literal["coteaching-plus"] = "coteaching-plus"
    forget_rate: Annotated[float, Field(ge=0.0, lt=1.0)] = frame(0.2, "τ, share of samples to forget: the noise rate.")
    forget_epochs: int = frame(10, "E_k, epochs over which the share rises from 0 to τ.", ge=1)
    init_epochs: int = frame(20, "Epochs before disagreement counts (5 on CIFAR-100).", ge=0)
    clean_images: CleanImages = "unused"


class CoteachingPlus(TwoNetworks):
    """The step of Co-teaching+. See the module's docstring.

    Attributes:
        state: ``kept_share``: 1 − R(e), 0-dim.
    """

    Config: ClassVar = CoteachingPlusConfig
    config: CoteachingPlusConfig

    @property
    def capture_key(self) -> bool:
        """Whether disagreement counts."""
        return self.epoch >= self.config.init_epochs

    def allocate(self, networks: Networks, task: Task) -> None:
        self.state = {"kept_share": networks["main"].vector.detach().new_ones((), dtype=torch.float64)}

    def begin_epoch(self, networks: Networks, interlude: DatasetReducer) -> None:
        self.state["kept_share"].fill_(1.0 - forget_share(self.config, self.epoch))

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        noisy = batch.noisy
        logits = [networks[name](noisy.images)[0] for name in MAIN_MODELS]
        losses = [cross_entropy(output, noisy.labels) for output in logits]
        first, second = (output.detach().argmax(dim=1) for output in logits)
        told = torch.stack([*(loss.detach() for loss in losses), (first != second).to(losses[0].dtype)], dim=1)
        (whole,) = reducer.assemble(told, noisy).wait()

        candidates = whole[:, 2] > 0 if self.capture_key else torch.ones_like(whole[:, 2]).bool()
        num_kept = (self.state["kept_share"] * candidates.sum()).floor()
        mine = slice(noisy.offset, noisy.offset + len(noisy.labels)) if noisy.count else slice(0, 1)
        chosen = [smallest(whole[:, column], candidates, num_kept)[mine] for column in range(2)]

        # Each learns on what the other has picked.
        learnt = zip(losses, reversed(chosen), strict=True)
        loss_sums = [noisy.sum(picked.to(loss.dtype) * loss) for loss, picked in learnt]
        figures = [loss.detach() for loss in loss_sums]
        means, (main_loss, peer_loss) = both_directions(networks, loss_sums, figures, noisy.count, reducer)
        # From a mean over the batch to a mean over the picked ones.
        scale = (noisy.global_size / num_kept.clamp_min(1.0)).to(main_loss.dtype)
        directions = {name: mean * scale for name, mean in means.items()}
        return StepResult(
            directions=directions,
            metrics={
                "lower": main_loss * scale,
                "peer_lower": peer_loss * scale,
                "lower_main_norm": networks["main"].norm(directions["main"]),
                "disagreement": whole[:, 2].mean(),
                "kept_share": num_kept / noisy.global_size,
            },
            skip_update=dict.fromkeys(MAIN_MODELS, num_kept < 1),
        )


def forget_share(config: CoteachingPlusConfig, epoch: int) -> float:
    """R(e) for ``epoch`` e from 0."""
    return config.forget_rate * min(epoch / config.forget_epochs, 1.0)


def smallest(losses: Tensor, candidates: Tensor, number: Tensor) -> Tensor:
    """(N,) bool: the ``number`` (0-dim) candidates of smallest loss; ties go to the earlier sample."""
    order = torch.where(candidates, losses, torch.inf).argsort(stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return candidates & (rank < number)
