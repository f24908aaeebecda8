"""What the methods share whose meta model weighs samples by their loss.

    G(w, θ) = mean v_i(θ)·ℓ_i(w),   ℓ_i = CE(f_w(x_i), ỹ_i),   v_i a function of the value of ℓ_i

The look-ahead of `look_ahead` gives D = ∇_θF(w'(θ)); θ' is where the optimiser will take θ on D, and the main model
learns with the weights of θ':

    d_w = mean v_i(θ')·∇ℓ_i(w),   d_θ = D

``weights`` = ``current`` takes v_i(θ) there, which saves a backward pass and a reduction. Cost: 11 forward units with
``forward_mode`` (9 with ``current``), 12 with ``double_backward``, 9 with ``finite_difference``. Reductions: 4 (3).
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ebomlc_dist.fields import frame
from ebomlc_dist.methods.contract import Method, Networks, PairedBatch, Reducer, Rules, StepResult, Streams
from ebomlc_dist.methods.look_ahead import LookAheadConfig, look_ahead, look_ahead_metrics
from ebomlc_dist.numerics.hypergradient import in_layout
from ebomlc_dist.numerics.losses import cross_entropy
from ebomlc_dist.numerics.network import gradients

Net = Callable[[Tensor], Any]
"""The meta model at some parameters: losses (n,) → what it says of them."""


class SampleWeightsConfig(LookAheadConfig):
    """What every method with a weight net chooses."""

    weights: Literal["updated", "current"] = frame(
        "updated", "Weights of the main model's step: after the weight net's own step, or before it."
    )


class SampleWeights(Method):
    """A step with a weight net; see the module's equations."""

    config: SampleWeightsConfig
    networks = ("main", "meta")
    streams = Streams(clean=True)

    @abstractmethod
    def weigh(self, net: Net, losses: Tensor, batch: PairedBatch, draw: int) -> Tensor:
        """v, (n,), differentiable in the net's parameters; ``draw``: which of the step's draws, where it draws."""

    def penalty(self, net: Net, losses: Tensor) -> Tensor | None:
        """(n,) terms in θ; η times their mean joins F(w'(θ))."""
        return None

    def observe(self, net: Net, losses: Tensor) -> Tensor | None:
        """(n, k) values whose global mean `remember` gets."""
        return None

    def remember(self, observed: Tensor) -> Mapping[str, Tensor]:
        """New values of `Method.state`, from the (k,) mean of what was observed."""
        return {}

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        main, meta, noisy = networks["main"], networks["meta"], batch.noisy
        logits, _ = main(in_layout(self.config.hypergradient, noisy.images))
        losses = cross_entropy(logits, noisy.labels)
        values = losses.detach()
        weights = self.weigh(meta, values, batch, 0)
        updated = self.config.weights == "updated"
        observed = self.observe(meta, values)
        ahead = look_ahead(
            self.config,
            networks,
            rules["main"],
            batch,
            reducer,
            coefficients=weights,
            lower_sum=lambda fixed: noisy.sum(fixed * losses),
            lower_count=noisy.count,
            terms=lambda point: cross_entropy(main.at(point, noisy.images)[0], noisy.labels),
            here=values,
            penalty=self.penalty(meta, values),
            observed=observed,
            keep_graph=updated,
        )
        direction = ahead.lower_main
        if updated:
            point = meta.vector.detach()
            then = point - rules["meta"].step(ahead.hypergradient, point)
            with torch.no_grad():
                applied = self.weigh(lambda inputs: meta.at(then, inputs), values, batch, 1)
            (direction,) = reducer.mean_of_sums(gradients(noisy.sum(applied * losses), [main]), noisy.count).wait()
        return StepResult(
            directions={"main": direction, "meta": ahead.hypergradient},
            metrics=look_ahead_metrics(main, ahead),
            state={} if observed is None else self.remember(ahead.observed),
        )
