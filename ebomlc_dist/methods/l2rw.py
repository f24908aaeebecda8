"""L2RW: learning to reweight examples (Ren et al. 2018, "Learning to Reweight Examples for Robust Deep Learning").

A step on noisy losses weighted by ε, looked at from ε = 0, tells how each sample would change the clean loss F:

    u_i = −∂F(w − η∇_w Σ_j ε_j ℓ_j(w)) / ∂ε_i at ε = 0, over η   = ⟨∇ℓ_i(w), ∇F(w)⟩
    ω_i = max(u_i, 0) / Σ_j max(u_j, 0),   d_w = Σ_i ω_i ∇ℓ_i(w)

At ε = 0 the look-ahead is w itself, so u_i is the slope of ℓ_i along ∇F(w): `ebomlc_dist.numerics.hypergradient`. The
sum over j runs over the global batch. Where no sample agrees with ∇F, no step is made.

Cost: 7 forward units with ``finite_difference``, 9 with ``forward_mode``, 12 with ``double_backward``.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ebomlc_dist.fields import frame
from ebomlc_dist.methods.contract import (
    Method,
    MethodConfig,
    Networks,
    PairedBatch,
    Reducer,
    Rules,
    StepResult,
    Streams,
)
from ebomlc_dist.methods.look_ahead import upper_gradient
from ebomlc_dist.numerics.hypergradient import Hypergradient, HypergradientMode, in_layout
from ebomlc_dist.numerics.losses import cross_entropy
from ebomlc_dist.numerics.network import gradients


class L2rwConfig(MethodConfig):
    """L2RW's settings."""

    own_frame: ClassVar[Mapping[str, Any]] = {"optim.weight_decay": 2e-4}
    name: Literal["l2rw"] = "l2rw"
    hypergradient: HypergradientMode = frame("forward_mode", "How the hypergradient is computed.")


class L2rw(Method):
    """The step of L2RW. See the module's equations."""

    Config: ClassVar = L2rwConfig
    streams = Streams(clean=True)
    main_optimizers = ("sgd", "adam")

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        main, noisy = networks["main"], batch.noisy
        assert batch.clean is not None
        upper_main, upper_mean = upper_gradient(main, main.vector, batch.clean, reducer)

        logits, _ = main(in_layout(self.config.hypergradient, noisy.images))
        losses = cross_entropy(logits, noisy.labels)
        through = Hypergradient(self.config.hypergradient, main, torch.zeros_like(losses))
        if self.config.hypergradient == "double_backward":
            through.lower_gradient(noisy.sum(through.coefficients * losses), keep_graph=True)

        def terms(point: Tensor) -> Tensor:
            return cross_entropy(main.at(point, noisy.images)[0], noisy.labels)

        agreement = through.slopes(terms, losses.detach(), upper_main).clamp(min=0.0)
        # Σ max(u, 0)∇ℓ over Σ max(u, 0): the weights' global sum comes with the gradient, in one reduction.
        sums = [*gradients(noisy.sum(agreement * losses), [main]), noisy.sum(agreement), noisy.sum(losses.detach())]
        weighted, total, loss = reducer.mean_of_sums(sums, noisy.count).wait()
        nothing = total <= 0
        direction = weighted / torch.where(nothing, 1.0, total)
        return StepResult(
            directions={"main": direction},
            metrics={
                "upper": upper_mean,
                "lower": loss,
                "upper_main_norm": main.norm(upper_main),
                "lower_main_norm": main.norm(direction),
                "no_agreement": nothing.double(),
            },
            skip_update={"main": nothing},
        )
