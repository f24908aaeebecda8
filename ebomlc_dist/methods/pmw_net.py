"""PMW-Net: a net that maps losses to distributions of weights (Zhao et al. 2021, "A Probabilistic Formulation for
Meta-Weight-Net").

    v_i ~ Beta(a_i, b_i),   a_i = A_θ(ℓ_i), b_i = B_θ(ℓ_i),   A, B: 1 → 100 ReLU → 1 softplus

in the step of `sample_weights`, differentiated through the draws. To F(w'(θ)) comes, with ς = `prior_weight` = 0.001,

    ς·η·mean KL(Beta(a_i, b_i) ‖ Beta(a₀, b₀))

and the prior of an epoch, (a₀, b₀), is the mean of all a_i and of all b_i over the epoch before; (1, 1) in the first.
Draws depend on seed, step and place in the global batch.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ebomlc_dist.fields import frame
from ebomlc_dist.methods.contract import DatasetReducer, Networks, PairedBatch, Task
from ebomlc_dist.methods.sample_weights import Net, SampleWeights, SampleWeightsConfig
from ebomlc_dist.numerics.draws import beta, keys_of
from ebomlc_dist.numerics.losses import beta_divergence


class PmwNetConfig(SampleWeightsConfig):
    """PMW-Net's settings; the defaults are the paper's."""

    optim_defaults: ClassVar[Mapping[str, Any]] = {"meta_lr": 1e-3, "meta_weight_decay": 1e-4}
    own_frame: ClassVar[Mapping[str, Any]] = {"train.epochs": 60, "optim.milestones": (40 / 60, 50 / 60)}
    name: Literal["pmw-net"] = "pmw-net"
    prior_weight: float = frame(0.001, "ς, weight of the divergence from the prior.", ge=0.0)


class PmwNet(SampleWeights):
    """The step of PMW-Net. See the module's equations.

    Attributes:
        state: ``prior``: (a₀, b₀); ``shapes``: sums over this epoch's steps of the mean a and b, and their number.
    """

    Config: ClassVar = PmwNetConfig
    config: PmwNetConfig
    meta_model = "beta-weight-net"

    def allocate(self, networks: Networks, task: Task) -> None:
        vector = networks["meta"].vector.detach()
        self.state = {"prior": vector.new_ones(2), "shapes": vector.new_zeros(3)}

    def begin_epoch(self, networks: Networks, interlude: DatasetReducer) -> None:
        first, second, steps = self.state["shapes"]
        told = torch.stack([first, second]) / steps.clamp_min(1.0)
        self.state["prior"].copy_(torch.where(steps > 0, told, self.state["prior"]))
        self.state["shapes"].zero_()

    def weigh(self, net: Net, losses: Tensor, batch: PairedBatch, draw: int) -> Tensor:
        assert batch.key is not None
        places = batch.noisy.offset + torch.arange(len(losses), device=losses.device)
        a, b = net(losses)
        return beta(a, b, keys_of(batch.key, places), draw)

    def penalty(self, net: Net, losses: Tensor) -> Tensor:
        a, b = net(losses)
        prior_a, prior_b = self.state["prior"]
        return self.config.prior_weight * beta_divergence(a, b, prior_a, prior_b)

    def observe(self, net: Net, losses: Tensor) -> Tensor:
        return torch.stack(net(losses), dim=1).detach()

    def remember(self, observed: Tensor) -> Mapping[str, Tensor]:
        return {"shapes": self.state["shapes"] + torch.cat([observed, torch.ones_like(observed[:1])])}
