"""MW-Net: a net that maps losses to weights (Shu et al. 2019, "Meta-Weight-Net: Learning an Explicit Mapping For Sample
Weighting").

    v_i(θ) = V_θ(ℓ_i),   V: 1 → 100 ReLU → 1 sigmoid

in the step of `sample_weights`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from ebomlc_dist.methods.contract import PairedBatch
from ebomlc_dist.methods.sample_weights import Net, SampleWeights, SampleWeightsConfig


class MwNetConfig(SampleWeightsConfig):
    """MW-Net's settings; the defaults are the paper's."""

    optim_defaults: ClassVar[Mapping[str, Any]] = {"meta_lr": 1e-3, "meta_weight_decay": 1e-4}
    name: Literal["mw-net"] = "mw-net"


class MwNet(SampleWeights):
    """The step of MW-Net. See the module's equations."""

    Config: ClassVar = MwNetConfig
    meta_model = "weight-net"

    def weigh(self, net: Net, losses: Tensor, batch: PairedBatch, draw: int) -> Tensor:
        return net(losses)
